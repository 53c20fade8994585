"""The learner's settings: plain values, no TensorFlow. The experiment file's `[learner]` table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LearnerSettings:
    """The learner: where servers find it, how much it trains on at once, what it keeps."""

    unrolls_address: str = "tcp://127.0.0.1:5556"
    """Where servers deliver unrolls."""
    weights_address: str = "tcp://127.0.0.1:5557"
    """Where servers fetch weights."""
    insecure: bool = False
    """Listen on addresses that other machines can reach, without keys."""
    batch_unrolls: int = 32
    """Unrolls in one training step."""
    queue_batches: int = 1
    """Batches that may wait for training; more hides jitter, fewer keeps the policy lag low."""
    publish_every: int = 1
    """Training steps from one published policy version to the next."""
    checkpoint_every_s: float = 60.0
    """Seconds from one checkpoint to the next; one more is written at the end."""
    keep_checkpoints: int = 3
    """Newest checkpoints to keep."""

    def __post_init__(self) -> None:
        for name in ("batch_unrolls", "queue_batches", "publish_every", "keep_checkpoints"):
            if not 1 <= getattr(self, name) <= 1_000_000:
                raise ValueError(f"{name} must be 1 to 1000000, not {getattr(self, name)}")
        if not self.checkpoint_every_s > 0:
            raise ValueError(f"checkpoint_every_s must be more than 0 seconds, not {self.checkpoint_every_s}")
