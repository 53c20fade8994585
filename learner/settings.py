"""The learner's settings: plain values, no TensorFlow. The experiment file's `[learner]` table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from corral.agents.settings import check_count, check_memory


@dataclass(frozen=True)
class ReplaySettings:
    """Steps of long ago, for the algorithms that learn from them. The experiment file's `[learner.replay]`."""

    capacity: int = 100_000
    """Environment steps to keep, the newest."""
    min_size: int = 1_000
    """Environment steps to gather before training begins."""
    samples_per_insert: float = 8.0
    """How many times each step (or sequence) is drawn on average; a batch of 256 after every step makes 256."""
    slack: int = 1_000
    """Steps (or sequences) that may be taken in ahead of that."""
    alpha: float = 0.0
    """How much more often surprising steps are drawn: 0 draws all alike, 1 in proportion."""
    beta: float = 0.4
    """How much of that the weights of steps make up for: 1 is unbiased."""
    checkpoint: bool = False
    """Keep the replay in checkpoints: they become as large as it is, and a resumed run need not fill it again."""

    def __post_init__(self) -> None:
        for name in ("capacity", "min_size", "slack"):
            if not 1 <= getattr(self, name) <= 1_000_000_000:
                raise ValueError(f"{name} must be 1 to 1000000000 steps, not {getattr(self, name)}")
        if self.min_size > self.capacity:
            raise ValueError(f"min_size must be at most capacity ({self.capacity}), not {self.min_size}")
        if not 0 < self.samples_per_insert <= 1e6:
            raise ValueError(f"samples_per_insert must be more than 0 to 1000000, not {self.samples_per_insert}")
        for name in ("alpha", "beta"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1, not {getattr(self, name)}")


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
    """Unrolls in one training step; of a replay, the sequences drawn for one."""
    queue_batches: int = 1
    """Batches of fresh unrolls that may wait at the learner, and as many again at servers; more hides jitter, fewer
    keeps the policy lag low. 0: none at the learner, one at servers."""
    max_policy_lag: int = 0
    """Fresh unrolls with a step more policy versions old than this are dropped and counted; 0 drops none."""
    max_rollbacks: int = 3
    """Times that a learner whose training has diverged goes back to its newest checkpoint, until it gives up."""
    publish_every: int = 1
    """Training steps from one published policy version to the next."""
    checkpoint_every_s: float = 60.0
    """Seconds from one checkpoint to the next; one more is written at the end."""
    checkpoint_every_versions: int = 500
    """Policy versions from one checkpoint to the next where `run.determinism` is on, in place of
    `checkpoint_every_s`; all environments are reset there."""
    keep_checkpoints: int = 3
    """Newest checkpoints to keep."""
    devices: int | Literal["auto"] = 1
    """Accelerators that share each training step, even parts of its batch each; "auto" takes all that there are."""
    device_share: float = 1.0
    """Most of the time that training takes of its devices, more than 0 to 1: after each step the learner rests, and
    leaves them to a server that acts on the same ones."""
    gpu_memory_mb: int = 0
    """Most memory of each GPU that the learner takes, in MB of 2^20 bytes; 0 takes what it needs, as it needs
    it."""
    replay: ReplaySettings = field(default_factory=ReplaySettings)

    def __post_init__(self) -> None:
        counts = ("batch_unrolls", "publish_every", "checkpoint_every_versions", "keep_checkpoints")
        for least, names in ((1, counts), (0, ("queue_batches", "max_rollbacks"))):
            for name in names:
                if not least <= getattr(self, name) <= 1_000_000:
                    raise ValueError(f"{name} must be {least} to 1000000, not {getattr(self, name)}")
        check_count("devices", self.devices)
        check_memory(self.gpu_memory_mb)
        if not 0 < self.device_share <= 1:
            raise ValueError(f"device_share must be more than 0 to 1, not {self.device_share}")
        if not 0 <= self.max_policy_lag <= 1_000_000:
            raise ValueError(f"max_policy_lag must be 0 to 1000000 versions, not {self.max_policy_lag}")
        if not self.checkpoint_every_s > 0:
            raise ValueError(f"checkpoint_every_s must be more than 0 seconds, not {self.checkpoint_every_s}")

    @property
    def window(self) -> int:
        """Fresh unrolls that a server may have under way to the learner."""
        return self.batch_unrolls * max(self.queue_batches, 1)
