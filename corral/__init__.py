"""Corral: many thin actors, one Keras policy.

The rooms: `corral.protocol` (what goes over the wire), `corral.agents` (what a policy does and how it
learns), `actor_client`, `inference_server`, `learner`, and the roof: `corral.cli` and `corral.launch`.
"""

__version__ = "0.1.0"
