"""Training: the learner, and its two ends for a training loop of your own.

`UnrollSource` hands out batches of trajectories, `WeightPublisher` pushes new weights to the servers.
"""

from learner.settings import LearnerSettings
from learner.unroll_source import UnrollSource
from learner.weight_publisher import WeightPublisher

__all__ = ["LearnerSettings", "UnrollSource", "WeightPublisher"]
