from corral.dashboard.serve import serve as serve
from corral.dashboard.sources import Source as Source
from corral.dashboard.sources import find_sources as find_sources
