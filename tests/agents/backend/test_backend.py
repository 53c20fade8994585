import keras
import pytest

from corral.agents.backend import BackendError, load_backend


def test_the_backend_of_keras_is_loaded():
    assert load_backend().__name__ == f"corral.agents.backend.{keras.backend.backend()}"


def test_an_unsupported_backend_is_named(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    every = "KERAS_BACKEND=tensorflow, KERAS_BACKEND=jax or KERAS_BACKEND=torch"
    with pytest.raises(BackendError, match=f"'openvino'.*{every}"):
        load_backend()
