"""JAX, in processes of their own: Keras chooses its backend once in the life of a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).relative_to(ROOT)
ELSEWHERE = [HERE, HERE.with_name("test_sharing.py"), HERE.with_name("test_torch.py")]
"""These start processes of their own, on backends that they choose."""
ON_JAX = (
    ("backend",),
    ("test_vtrace.py", "test_model.py", "test_ppo.py"),
    ("test_dqn.py", "test_r2d2.py"),
    ("test_ddpg.py", "test_sac.py"),
)
"""Every agent and what meets a backend; the rest are specs and parts of these."""


def run_on(
    backend: str, *arguments: str, python: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs Python, this one unless another is named, with these arguments on a Keras backend."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.run(
        [python or sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=280,
    )


@pytest.mark.parametrize("names", ON_JAX, ids="+".join)
def test_agents_and_the_backends_contract_hold_on_jax(names):
    """None may be skipped."""
    paths = (f"tests/agents/{name}" for name in names)
    ignored = (f"--ignore={path}" for path in ELSEWHERE)
    done = run_on("jax", "-m", "pytest", *paths, *ignored, "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout.strip().splitlines()[-1]
    assert " passed" in summary
    assert "skipped" not in summary
    assert "xfailed" not in summary


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, dict[str, np.ndarray]]:
    """What `agreement.py` found on each backend, from the same weights."""
    folder, found = tmp_path_factory.mktemp("agreement"), {}
    for backend in ("tensorflow", "jax"):
        file = folder / f"{backend}.npz"
        done = run_on(backend, "-m", "tests.agents.backend.agreement", str(folder / "weights.npz"), str(file))
        assert done.returncode == 0, done.stderr
        with np.load(file) as stored:
            found[backend] = dict(stored)
        assert found[backend].pop("backend") == backend
    return found


def test_both_backends_report_the_same_things_in_the_same_dtypes(results):
    one, other = results["tensorflow"], results["jax"]
    assert list(one) == list(other)
    counts = ("/step", "/0")  # of steps and of an optimizer's iterations: as wide as the backend counts
    assert all(one[name].dtype == other[name].dtype for name in one if not name.endswith(counts))


@pytest.mark.parametrize("part", ["act", "adam", "rmsprop", "sgd"])
def test_both_backends_agree(results, part):
    names = [name for name in results["jax"] if name.startswith(f"{part}/")]
    assert names
    for name in names:
        one, other = results["tensorflow"][name], results["jax"][name]
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5, err_msg=name)


CONFIGURED = """
import os
from corral.agents import load_backend
backend = load_backend()
backend.configure(3, 1)
assert "NPROC" not in os.environ
import numpy as np, keras
from corral.agents import ModelAgent
x = keras.Input((4,))
act = backend.CompiledAct(ModelAgent(keras.Model(x, keras.layers.Dense(2)(x))), [1])
nothing = np.zeros((1, 0), np.float32)
act(1, {"observation": np.zeros((1, 4), np.float32)}, {}, np.zeros(1, bool), nothing, nothing)
try:
    backend.configure(1)
except RuntimeError as error:
    print(error)
"""


def test_threads_are_set_before_jax_has_run_anything():
    done = run_on("jax", "-c", CONFIGURED)
    assert done.returncode == 0, done.stderr
    assert "already run" in done.stdout
