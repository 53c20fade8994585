from corral.telemetry.board import Board as Board
from corral.telemetry.histogram import Histogram as Histogram
from corral.telemetry.histogram import HistogramSnapshot as HistogramSnapshot
from corral.telemetry.verdict import Judge as Judge
from corral.telemetry.verdict import Verdict as Verdict
