import keras
import pytest

from corral.agents.backend import load_backend


def test_the_backend_of_keras_is_loaded():
    assert load_backend().__name__ == f"corral.agents.backend.{keras.backend.backend()}"


def test_an_unsupported_backend_is_named(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    with pytest.raises(RuntimeError, match=r"'openvino'.*KERAS_BACKEND=tensorflow or KERAS_BACKEND=jax"):
        load_backend()
