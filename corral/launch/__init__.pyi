from corral.launch.experiment import Experiment as Experiment
from corral.launch.experiment import ExperimentError as ExperimentError
from corral.launch.experiment import load_experiment as load_experiment
from corral.launch.local import run_locally as run_locally
