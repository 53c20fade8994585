from learner.learner import Learner as Learner
from learner.settings import LearnerSettings as LearnerSettings
from learner.unroll_source import UnrollSource as UnrollSource
from learner.weight_publisher import WeightPublisher as WeightPublisher
