"""Training: the learner, and its two ends for a training loop of your own.

`UnrollSource` hands out batches of trajectories, `WeightPublisher` pushes new weights to the servers. Nothing is
imported until it is asked for.
"""

from corral.lazy import exports

__all__, __getattr__, __dir__ = exports(__name__)
