from corral.bench.load import Load as Load
from corral.bench.result import Result as Result
from corral.bench.stage import Stage as Stage
