"""Read trajectories from a training server: the learner's intake, in five lines.

In other terminals: `corral server examples/cartpole.toml`, `corral actor examples/cartpole.toml`, and
`python examples/push_weights.py policy.keras`, since a server acts only once it has weights.
"""

from learner import UnrollSource

with UnrollSource("tcp://127.0.0.1:5556") as source:
    for unroll in source.batches(32):  # 32 trajectories, time-major: [T + 1, 32, ...]
        print(
            f"{source.env_steps} steps; rewards {unroll.reward.sum():.0f}; actions {unroll.output['action'].shape}"
        )
        for episode_return, length in source.episodes():
            print(f"an episode of {length} steps returned {episode_return:g}")
