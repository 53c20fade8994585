"""The trained policy as one Keras model: observation in, greedy action and the network's outputs out."""

from __future__ import annotations

from pathlib import Path

from corral.agents import Agent


def save_policy(agent: Agent, path: Path) -> Path:
    """Write the agent's policy to `path` (.keras): load it with Keras, or serve it with `corral serve`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"partial-{path.name}")
    try:
        agent.policy().save(partial)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return path
