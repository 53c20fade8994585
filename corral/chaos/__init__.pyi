from corral.chaos.companion import Chaos as Chaos
from corral.chaos.trial import run_chaos as run_chaos
