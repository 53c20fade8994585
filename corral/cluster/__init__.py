"""A run on a Ray cluster: `corral run EXPERIMENT --on ray` (docs/ray.md).

Ray places one supervisor for each process of the run, and places it anew where its node is lost. The supervisor
starts the process itself, as the local launcher does, and hands what it writes to the directory, on the launcher's
machine. Nothing of the run's data goes through Ray.
"""
