"""PyTorch acts as other backends do, and trains nothing; in processes of its own virtual environment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.agents.backend.test_jax import HERE, run_on
from tests.support.torch_venv import torch_python

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def test_the_contract_of_acting_holds() -> None:
    """In 16 bits too, and for saved models; none may be skipped."""
    tests = (HERE.with_name("test_acting.py"), HERE.with_name("test_precision.py"), "tests/agents/test_model.py")
    done = run_on("torch", "-m", "pytest", *map(str, tests), "-p", "no:cacheprovider", python=torch_python())
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout.strip().splitlines()[-1]
    assert " passed" in summary
    assert "skipped" not in summary


def test_it_acts_as_tensorflow_does(tmp_path: Path) -> None:
    found = {}
    for backend, python in (("tensorflow", None), ("torch", torch_python())):
        files = (str(tmp_path / "weights.npz"), str(tmp_path / f"{backend}.npz"))
        done = run_on(backend, "-m", "tests.agents.backend.agreement", *files, python=python)
        assert done.returncode == 0, done.stderr
        with np.load(files[1]) as stored:
            found[backend] = {name: stored[name] for name in stored.files if name.startswith("act/")}
    assert found["torch"].keys() == found["tensorflow"].keys()
    for name, expected in found["tensorflow"].items():
        assert found["torch"][name].dtype == expected.dtype
        np.testing.assert_allclose(found["torch"][name], expected, rtol=1e-5, atol=1e-5, err_msg=name)


REFUSED = """
from corral.agents.backend import BackendError, load_backend
backend = load_backend()
for wanted in (lambda: backend.training_devices(1), lambda: backend.Trainer(None, None)):
    try:
        wanted()
    except BackendError as error:
        print(error)
"""


def test_training_is_refused_with_what_to_do() -> None:
    done = run_on("torch", "-c", REFUSED, python=torch_python())
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert len(told) == 2
    for line in told:
        assert line.startswith(
            "Keras runs on 'torch', on which Corral serves but does not train: for the learner set "
        )
        assert "KERAS_BACKEND=tensorflow or KERAS_BACKEND=jax" in line
