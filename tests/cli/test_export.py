"""`corral export`: what others load does what the policy does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_command_line import ROOT, corral_command, error
from tests.support.run_folder import cartpole_run, painted_run, run_folder, untrained_run

pytestmark = pytest.mark.long


OURS = ("loading ", "writing ", "starting TensorFlow")
"""What is said of an export that takes longer than some seconds."""


def exported(*arguments: object, **environment: str) -> Path:
    """Where the command says that it has written."""
    done = corral_command("export", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(OURS) for line in done.stderr.splitlines())  # TensorFlow has said nothing
    assert done.stdout.startswith("wrote ")
    return Path(done.stdout.removeprefix("wrote ").rstrip("\n"))


def observations(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).normal(0.0, 0.1, (rows, 4)).astype(np.float32)


def test_a_saved_model_serves_the_same_actions_without_keras(tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    run = cartpole_run(tmp_path / "run")
    path = exported(run, "--format", "savedmodel")
    assert path == run / "export" / "savedmodel" / "1"
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    (taken,) = serve.structured_input_signature[1].values()
    assert (taken.name, taken.shape.as_list(), taken.dtype) == ("observation", [None, 4], tf.float32)

    policy = keras.models.load_model(run / "policy.keras")
    for rows in (1, 3, 64):
        observation = observations(rows)
        served = serve(observation=tf.constant(observation))
        expected = policy({"observation": observation})
        assert served.keys() == expected.keys() >= {"action", "logits", "value"}
        assert served["action"].numpy().tolist() == np.asarray(expected["action"]).tolist()
        for name, leaf in expected.items():
            np.testing.assert_allclose(served[name].numpy(), np.asarray(leaf), rtol=1e-5, atol=1e-6)
    assert set(served["action"].numpy().tolist()) == {0, 1}


def test_the_best_policy(tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run")
    text = error(corral_command("export", run, "--format", "keras", "--best"))
    assert text.startswith(f"{run} has no best_policy.keras: ")
    best = (cartpole_run(tmp_path / "balancing") / "policy.keras").rename(run / "best_policy.keras")
    assert exported(run, "--format", "keras", "--best").read_bytes() == best.read_bytes()
    assert exported(run, "--format", "keras", "--force").read_bytes() == (run / "policy.keras").read_bytes()


def test_observations_of_several_leaves(tmp_path: Path) -> None:
    import tensorflow as tf

    path = exported(painted_run(tmp_path / "run"), "--format", "savedmodel")
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    given = {"where_x": tf.zeros((3, 1)), "door": tf.constant([0, 2, 1], tf.int64)}
    assert serve.structured_input_signature[1].keys() == given.keys()
    assert serve(**given)["action"].numpy().tolist() == [0, 2, 1]


def test_a_recurrent_policy_takes_its_state_and_gives_the_next(tmp_path: Path) -> None:
    import tensorflow as tf

    run = untrained_run(tmp_path / "run", core="lstm", core_units=8, normalize=True)
    path = exported(run, "--format", "savedmodel", "--output", tmp_path / "saved" / "7")
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    nothing = tf.zeros((3, 8))
    served = serve(observation=tf.constant(observations(3)), h=nothing, c=nothing)
    assert served["action"].shape == (3,)
    assert served["h"].shape == served["c"].shape == (3, 8)
    again = serve(observation=tf.constant(observations(3)), h=served["h"], c=served["c"])
    assert not np.allclose(again["h"], served["h"])


def test_a_keras_file(tmp_path: Path) -> None:
    import keras

    run = cartpole_run(tmp_path / "run")
    assert exported(run, "--format", "keras") == run / "export" / "policy.keras"
    path = exported(run, "--format", "keras", "--output", tmp_path / "new" / "mine.keras")
    assert path == tmp_path / "new" / "mine.keras"
    observation = {"observation": observations(5)}
    actions = [
        np.asarray(keras.models.load_model(file)(observation)["action"]).tolist()
        for file in (run / "policy.keras", path)
    ]
    assert actions[0] == actions[1]


def test_an_earlier_export_is_kept_unless_forced(tmp_path: Path) -> None:
    import tensorflow as tf

    run, other = cartpole_run(tmp_path / "run"), painted_run(tmp_path / "other")
    for form, path in (("keras", tmp_path / "mine.keras"), ("savedmodel", tmp_path / "saved")):
        arguments = ["--format", form, "--output", path]
        exported(run, *arguments)
        text = error(corral_command("export", other, *arguments))
        assert text == f"{path} exists: --force overwrites it, --output PATH writes another"
        assert exported(other, *arguments, "--force") == path
    serve = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    assert serve.structured_input_signature[1].keys() == {"door", "where_x"}
    assert (tmp_path / "mine.keras").read_bytes() == (other / "policy.keras").read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["mine.keras", "other", "run", "saved"]


@pytest.mark.parametrize(
    ("form", "output", "text"),
    [
        ("pickle", "x", "--format pickle: must be keras or savedmodel"),
        ("keras", "mine.h5", "--output {output}: a Keras file's name ends in .keras"),
        ("keras", "folder.keras", "--output {output} is a folder: name a file in it"),
        ("savedmodel", "file", "--output {output} is a file: a SavedModel is a folder, so name another"),
        (
            "savedmodel",
            "folder.keras",
            "--output {output} is a folder with something else in it: name one that is new or empty",
        ),
    ],
)
def test_mistakes_are_told(form: str, output: str, text: str, tmp_path: Path) -> None:
    run = cartpole_run(tmp_path / "run")
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "folder.keras" / "mine").touch()
    (tmp_path / "file").touch()
    path = tmp_path / output
    told = error(corral_command("export", run, "--format", form, "--output", path, "--force"))
    assert told == text.format(output=path)
    assert (tmp_path / "folder.keras" / "mine").exists()


def test_onnx_is_refused_with_the_reason(tmp_path: Path) -> None:
    text = error(corral_command("export", tmp_path, "--format", "onnx"))
    assert text.startswith("--format onnx: cannot be written yet. Keras 3.15 spells the argmax")
    assert text.endswith("docs/results.md shows how")
    assert "\n## corral export" in (ROOT / "docs" / "results.md").read_text()


def test_a_run_without_a_policy(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    text = error(corral_command("export", run, "--format", "keras"))
    assert text.startswith(f"{run} has no policy.keras yet")
    (run / "policy.keras").write_text("junk")
    text = error(corral_command("export", run, "--format", "keras"))
    assert text.startswith(f"{run / 'policy.keras'} is no Keras file")
    assert not (run / "export").exists()


def test_help() -> None:
    done = corral_command("export", "--help")
    assert all(word in done.stdout for word in ("--format", "savedmodel", "--output", "--force"))
