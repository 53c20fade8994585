"""The client in JavaScript: its own tests, the conformance suite, and CartPole trained by its actors alone."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from corral.protocol.keys import Role, make_pair
from tests.conformance.__main__ import judge_all
from tests.conformance.scenarios import SCENARIOS
from tests.support.command import Workplace, workplace
from tests.support.ports import free_ports
from tests.support.processes import ROOT
from tests.support.programs import program

pytestmark = [pytest.mark.long, pytest.mark.timeout(500)]

ACTORS = 4


@pytest.fixture(scope="module")
def node() -> str:
    program("npm", "npm", "REQUIRE_NODE")
    return program("node", "Node.js 20 or newer", "REQUIRE_NODE")


@pytest.fixture(scope="module")
def client(node: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's folder with what it needs in it, beside the exchanges that its tests read."""
    place = tmp_path_factory.mktemp("js")
    folder = place / "clients" / "js"
    shutil.copytree(ROOT / "clients" / "js", folder, ignore=shutil.ignore_patterns("node_modules"))
    exchanges = Path("tests", "conformance", "exchanges")
    shutil.copytree(ROOT / exchanges, place / exchanges)
    # Nothing is compiled: zeromq brings its binaries.
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    subprocess.run(install, cwd=folder, check=True, timeout=250)
    return folder


@pytest.fixture
def place() -> Iterator[Workplace]:
    with workplace() as place:
        yield place


def test_its_own_tests_pass(client: Path) -> None:
    done = subprocess.run(["npm", "test"], cwd=client, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    (passed,) = [int(line.split()[-1]) for line in done.stdout.splitlines() if line.startswith("# pass ")]
    assert passed >= 30


def test_the_suite_passes(client: Path, node: str) -> None:
    verdicts = judge_all(list(SCENARIOS), [node, str(client / "conformance.js")], jobs=4)
    assert not [verdict for verdict in verdicts if not verdict.passed]


def test_its_cartpole_is_gymnasiums(client: Path, node: str) -> None:
    """The same starts and pushes, the same ways: the policy that one learns plays the other."""
    chances = np.random.default_rng(0)
    starts = chances.uniform(-0.05, 0.05, (50, 4)).tolist()
    pushes = chances.integers(0, 2, (50, 100)).tolist()
    script = (
        f"const {{ CartPole }} = await import({json.dumps(str(client / 'examples' / 'cartpole.js'))});"
        "const { readFileSync } = await import('node:fs');"
        "const [starts, pushes] = JSON.parse(readFileSync(0, 'utf8'));"
        "console.log(JSON.stringify(starts.map((start, i) => {"
        "  const cart = new CartPole(); cart.reset(); cart.state = start; const way = [];"
        "  for (const push of pushes[i]) {"
        "    const { observation, terminated } = cart.step([push]); way.push(observation); if (terminated) break; }"
        "  return way; })))"
    )
    command = [node, "--input-type=module", "-e", script]
    told = json.dumps([starts, pushes])
    ways = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, input=told, text=True).stdout)
    environment = gymnasium.make("CartPole-v1").unwrapped
    for start, pushed, way in zip(starts, pushes, ways, strict=True):
        environment.reset()
        environment.state = np.array(start)  # type: ignore[attr-defined]
        for step, (push, seen) in enumerate(zip(pushed, way, strict=False), 1):
            observation, _, terminated, _, _ = environment.step(push)
            np.testing.assert_allclose(seen, observation, atol=1e-5)
            assert terminated == (step == len(way) and len(way) < len(pushed))


def test_cartpole_is_solved_by_its_actors_alone(client: Path, node: str, place: Workplace) -> None:
    """With keys, to the target of the example; then it is asked what the policy would do."""
    server, unrolls, weights = (f"tcp://127.0.0.1:{port}" for port in free_ports(3))
    keys = place.folder / "keys"
    for role in (Role.SERVER, Role.LEARNER, Role.OPERATOR):
        make_pair(keys, role, "operator" if role is Role.OPERATOR else "")
    make_pair(keys, Role.ACTOR, "node-7")
    assert place.corral("keys", "bundle", "keys", "actor", "node-7", "for-node-7").returncode == 0
    lines = [f'learner.unrolls_address="{unrolls}"', f'learner.weights_address="{weights}"']
    common = ["examples/cartpole.toml", "--keys", "keys", "--set", lines[0], "--set", lines[1]]
    actor = [node, str(client / "examples" / "cartpole.js"), server, "12", "for-node-7"]
    place.environment["CORRAL_RUN__TARGET_RETURN"] = "475"
    with ExitStack() as stack:
        stack.enter_context(running(place, "corral", "server", *common, "--address", server))
        actors = [stack.enter_context(running(place, *actor)) for _ in range(ACTORS)]
        learned = place.corral("learner", *common, "--run-folder", "run", timeout_s=400)
        assert learned.returncode == 0, learned.stderr
        assert "solved: mean return" in learned.stdout
        assert [each.poll() for each in actors] == [None] * ACTORS
        assert inferred(client, node, place, server, "for-node-7") == {"0": "1", "1": "0"}
        for each in actors:
            each.terminate()
        assert [each.wait(30) for each in actors] == [0] * ACTORS


def inferred(client: Path, node: str, place: Workplace, server: str, keys: str) -> dict[str, str]:
    """What the policy does, by the client's INFER, where the pole falls to the right (0) and to the left (1)."""
    script = (
        f"const {{ Client }} = await import({json.dumps(str(client / 'src' / 'index.js'))});"
        f"const client = new Client({json.dumps(server)}, {{ keys: {json.dumps(keys)} }});"
        "const { action } = await client.infer([[0, 0, 0.1, 1], [0, 0, -0.1, -1]]);"
        "console.log(JSON.stringify({ ...Array.from(action, String) })); client.close();"
    )
    command = [node, "--input-type=module", "-e", script]
    return json.loads(subprocess.check_output(command, cwd=place.folder, env=place.environment, timeout=60))  # type: ignore[no-any-return]


@contextmanager
def running(place: Workplace, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs until the block ends; its output is the test's."""
    process = subprocess.Popen(command, cwd=place.folder, env=place.environment, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
