"""Push weights to a training server: the learner's output, in five lines.

`python examples/push_weights.py policy.keras` pushes the network of a policy that `corral run` has left behind.
"""

import sys
import time

import keras

from corral.agents import weights_of
from learner import WeightPublisher

with WeightPublisher("tcp://127.0.0.1:5557") as publisher:
    policy = keras.models.load_model(sys.argv[1])
    print("published version", publisher.publish(weights_of({"policy": policy})))
    while True:
        time.sleep(1)  # servers that come later fetch it then
