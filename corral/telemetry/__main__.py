"""`python -m corral.telemetry`: docs/metrics.md, from the catalogue."""

from __future__ import annotations

from corral.telemetry.catalogue import CATALOGUE, metrics_of

_HEAD = """# Metrics

Prometheus can ask every process of a run: say `--metrics-port 9100`, or `[metrics] port = 9100` in the experiment.
`corral run` gives the server that port, the learner the next one, and each actor one from the tenth on. They listen
on loopback; `metrics.host` names another address. There are no keys here: figures can be read by whoever comes, and
nothing can be changed.

- `/metrics`: Prometheus text. The names are below; beside them come `process_*` (memory, processors, files).
- `/livez`: 200 while the process can answer at all.
- `/readyz`: 200 where it can do its work; else 503, and why: not warm, no weights yet, or a loop that hangs. It
  gives the sign of life itself, so that an engine that is stuck turns its server unready within three seconds.

This page is made by `python -m corral.telemetry > docs/metrics.md`.
"""


def page() -> str:
    """The page, as Markdown."""
    parts = [_HEAD]
    for role in dict.fromkeys(metric.role for metric in CATALOGUE):
        parts.append(f"\n## {role.capitalize()}\n\n| name | type | meaning |\n|---|---|---|\n")
        parts += [f"| `{each.full_name}` | {each.kind} | {each.meaning} |\n" for each in metrics_of(role)]
    return "".join(parts)


if __name__ == "__main__":
    print(page(), end="")
