"""What the page says of a source in words, and in single numbers."""

from __future__ import annotations

from typing import NamedTuple

from corral.dashboard.watch import SILENT_S, Watch
from corral.launch.progress import Progress, number
from corral.launch.settings import RunSettings


class Standing(NamedTuple):
    """How a source stands.

    Attributes:
      word: one word.
      text: a sentence more, or nothing.
      colour: Quasar's name of one: "positive", "warning", "negative", "grey".
      icon: Material's name of one, since colours do not tell everybody apart.
    """

    word: str
    text: str
    colour: str
    icon: str


def standing(watch: Watch) -> Standing:
    """How a source stands now."""
    if watch.ended:
        return Standing("ended", _result(watch), "grey", "flag")
    addresses = ", ".join(watch.source.addresses[name] for name in watch.source.servers)
    if not watch.heard("server") and watch.heard("learner"):
        word = "paused" if watch.learner.get("paused") else "training"
        return Standing(word, "a learner; its servers are not watched", "positive", "play_arrow")
    if not watch.heard("server"):
        return Standing("waiting", f"for an answer from {addresses}", "warning", "hourglass_empty")
    if (silent := watch.silent_s("server")) > SILENT_S:
        who = "the server has" if len(watch.source.servers) == 1 else "the servers have"
        text = f"{who} not answered for {silent:.0f} s; the curves go on when it is back"
        return Standing("silent", text, "negative", "link_off")
    learner = "learner" in watch.source.addresses
    if learner and watch.heard("learner") and (silent := watch.silent_s("learner")) > SILENT_S:
        text = f"the learner has not answered for {silent:.0f} s; the server goes on with its last weights"
        return Standing("no learner", text, "warning", "link_off")
    if not watch.server.get("ready"):
        warm = bool(number(watch.server, "rows"))
        text = "takes nothing new in, and ends" if warm else "until the model is warm and has weights"
        return Standing("draining" if warm else "warming", text, "warning", "hourglass_empty")
    if watch.learner.get("paused"):
        return Standing("paused", "nothing is trained until it is resumed", "warning", "pause")
    return Standing("training" if watch.trains else "serving", "", "positive", "play_arrow")


def complaint(watch: Watch) -> str:
    """What server or learner last found wrong; empty for nothing."""
    complaints = _progress(watch).complaints()
    return complaints[-1] if complaints else ""


def tiles(watch: Watch) -> dict[str, str]:
    """Title -> value with its unit, as the page shows them in one row."""
    server, learner = watch.server, watch.learner
    throughput = [speed for _, speed in watch.drawn().over_time["throughput"][-3:] if speed is not None]
    speed = sum(throughput) / len(throughput) if throughput else None
    found = {
        "answers": _shown(speed, "{:,.0f}/s"),
        "latency p50": _shown(number(server, "latency_p50_ms") or None, "{:.2f} ms"),
        "latency p99": _shown(number(server, "latency_p99_ms") or None, "{:.2f} ms"),
        "batch": _shown(number(server, "recent_batch") or None, "{:.1f} rows"),
    }
    if watch.trains:
        progress = _progress(watch)
        version = number(learner, "policy_version") or number(server, "policy_version")
        found |= {
            "actors": _shown(number(server, "actors"), "{:,.0f}"),
            "environments": _shown(number(server, "environments"), "{:,.0f}"),
            "mean return": _shown(progress.mean_return, "{:,.1f}"),
            "steps": _shown(progress.env_steps, "{:,.0f}"),
            "policy version": _shown(version, "{:,.0f}"),
            "policy lag": _shown(number(learner, "policy_lag_p50"), "{:.1f} versions"),
        }
    return found


def _progress(watch: Watch) -> Progress:
    return Progress(RunSettings(), 0.0, watch.server, watch.learner)


def _result(watch: Watch) -> str:
    summary = watch.summary()
    mean, steps = number(summary, "mean_return"), number(summary, "env_steps")
    if mean is None or steps is None:
        return "the run goes on no more"
    word = "solved" if summary.get("solved") else "the run goes on no more"
    return f"{word}: mean return {mean:.1f} after {steps:,.0f} steps"


def _shown(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
