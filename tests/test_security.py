"""A server and a learner with keys, in processes of their own: who gets in, and what each may do there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import zmq

from actor_client import PolicyClient
from corral.dashboard.sources import Source
from corral.dashboard.steering import Line
from corral.protocol import (
    ErrorCode,
    Failure,
    Hello,
    MessageType,
    Welcome,
    fetch_status,
    open_dealer,
    pack_control,
    pack_header,
    spec_to_wire,
    unpack_control,
    unpack_header,
)
from corral.protocol.keys import (
    Caller,
    KeysError,
    Role,
    caller,
    copy_bundle,
    make_pair,
    read_public,
    read_secret,
    remove_pair,
)
from corral.protocol.specs import TensorSpec
from tests.protocol.test_document import table
from tests.support.ports import free_ports
from tests.support.processes import ROOT, Process, process, until

pytestmark = pytest.mark.timeout(120)

DOCUMENT = ROOT / "docs" / "security.md"
SPEC = {"observation": TensorSpec((4,), "float32")}


class Place(NamedTuple):
    """Where they are, and the folder of everybody's keys."""

    keys: Path
    server: str
    unrolls: str
    weights: str
    runs: Path
    processes: tuple[Process, ...]

    def operator(self) -> Caller | None:
        return caller(self.keys, Role.OPERATOR, towards=Role.SERVER)

    def refused(self) -> int:
        status = fetch_status(self.server, 5, keys=self.operator())
        assert status is not None
        return int(status["keys_refused"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("security")
    keys = folder / "keys"
    for role, name in ((Role.SERVER, ""), (Role.LEARNER, ""), (Role.ACTOR, "actor"), (Role.OPERATOR, "operator")):
        make_pair(keys, role, name)
    ports = free_ports(3)
    server, unrolls, weights = (f"tcp://127.0.0.1:{port}" for port in ports)
    # Every interface: what would be refused without keys.
    open_to_all = [address.replace("127.0.0.1", "0.0.0.0") for address in (server, unrolls, weights)]
    experiment = str(ROOT / "examples" / "cartpole.toml")
    learner = (
        "-m", "corral.cli", "learner", experiment, "--keys", str(keys), "--folder", str(folder / "runs"),
        "--unrolls-address", open_to_all[1], "--weights-address", open_to_all[2],
        "--set", f'server.address="{server}"', "-v",
    )  # fmt: skip
    inference = (
        "-m", "corral.cli", "server", experiment, "--keys", str(keys), "--address", open_to_all[0],
        "--set", f'learner.unrolls_address="{unrolls}"', "--set", f'learner.weights_address="{weights}"', "-v",
    )  # fmt: skip
    with process(*learner) as one, process(*inference) as other:
        found = Place(keys, server, unrolls, weights, folder / "runs", (one, other))
        until(
            lambda: (fetch_status(server, 0.5, keys=found.operator()) or {}).get("ready"),
            60,
            "a server with weights",
        )
        yield found


class Stranger:
    """A socket with whatever keys."""

    def __init__(self, address: str, keys: Caller | None) -> None:
        self._context = zmq.Context()
        self._socket = open_dealer(self._context, address, keys)

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.destroy(linger=0)

    def ask(self, frame: bytes, timeout_s: float = 10) -> bytes | None:
        self._socket.send(frame)
        return self._socket.recv() if self._socket.poll(int(timeout_s * 1000)) else None


def code(answer: bytes | None) -> str:
    """The ERROR's code, or what else was answered."""
    assert answer is not None
    type_ = MessageType(unpack_header(answer).type)
    return unpack_control(Failure, answer).code if type_ == MessageType.ERROR else type_.name


COLUMNS = ("key of", "at the server's address", "at the learner's addresses")
ROWS = {row[0]: row[1:] for row in table(*COLUMNS, document=DOCUMENT.read_text())}


@pytest.mark.parametrize("who", list(Role))
@pytest.mark.parametrize("where", [Role.SERVER, Role.LEARNER])
def test_a_key_may_do_what_the_table_says_and_no_more(place: Place, tmp_path: Path, who: Role, where: Role) -> None:
    cell = ROWS[who][0 if where is Role.SERVER else 1]
    addresses = (place.server,) if where is Role.SERVER else (place.unrolls, place.weights)
    (tmp_path / "learner.key").write_bytes((place.keys / f"{where}.key").read_bytes())
    keys = caller(place.keys, who, towards=where)
    for address in addresses:
        with Stranger(address, keys) as peer:
            if cell == "not let in":
                assert peer.ask(pack_header(MessageType.STATUS, 0, 1), 0.5) is None
                continue
            allowed = {MessageType[name] for name in cell.split(", ")}
            for type_ in set(MessageType) - allowed:
                assert code(peer.ask(pack_header(type_, 0, 1))) == ErrorCode.FORBIDDEN, type_
            if MessageType.STATUS in allowed and address != place.weights:
                assert code(peer.ask(pack_header(MessageType.STATUS, 0, 1))) == "REPORT"
            if MessageType.HELLO in allowed and where is Role.SERVER:
                assert code(peer.ask(pack_control(MessageType.HELLO, 0, 1, Hello("client")))) == "WELCOME"


@pytest.mark.parametrize("where", [Role.SERVER, Role.LEARNER])
@pytest.mark.parametrize("who", ["no keys", "a key that nobody knows", "another server's key"])
def test_somebody_else_hears_nothing(place: Place, tmp_path: Path, who: str, where: Role) -> None:
    make_pair(tmp_path, Role.ACTOR, "stranger")
    make_pair(tmp_path, Role.SERVER)
    own = caller(tmp_path, Role.ACTOR, towards=Role.SERVER)
    known = caller(place.keys, Role.OPERATOR, towards=where)
    assert own is not None
    assert known is not None
    keys = {
        "no keys": None,
        "a key that nobody knows": own._replace(other=known.other),
        "another server's key": known._replace(other=own.other),  # it means to talk to somebody else
    }[who]
    before = place.refused()
    with Stranger(place.server if where is Role.SERVER else place.unrolls, keys) as peer:
        assert peer.ask(pack_header(MessageType.STATUS, 0, 1), 0.5) is None
        if where is Role.SERVER:
            until(lambda: place.refused() > before, 10, "a count of who was turned away")


def test_an_actor_with_keys_acts_and_one_without_hears_why_not(place: Place) -> None:
    with PolicyClient(place.server, keys=place.keys) as client:
        assert client.infer([[0.0, 0.0, 0.0, 0.0]])["value"].shape == (1,)
    with PolicyClient(place.server, timeout_s=1.0) as client, pytest.raises(TimeoutError, match="keys"):
        client.infer([[0.0, 0.0, 0.0, 0.0]])


def hello() -> Hello:
    action = TensorSpec((), "int64", 0, 1)
    observation = {"observation": spec_of_cartpole()}
    return Hello(
        "actor", environments=1, observation=spec_to_wire(observation), action=spec_to_wire({"action": action})
    )


def spec_of_cartpole() -> TensorSpec:
    from actor_client.environments import spaces
    from actor_client.settings import EnvironmentSettings

    return spaces(EnvironmentSettings("CartPole-v1"))[0]["observation"]


def test_a_session_belongs_to_its_key_and_ends_when_the_key_is_revoked(place: Place) -> None:
    make_pair(place.keys, Role.ACTOR, "zoe")  # admitted without a restart
    public, secret = read_secret(place.keys / "actors" / "zoe.key_secret")
    other = read_public(place.keys / "server.key")
    first = caller(place.keys, Role.ACTOR, towards=Role.SERVER)  # "actor": the first by name
    with Stranger(place.server, Caller(public, secret, other)) as zoe, Stranger(place.server, first) as actor:
        answer = zoe.ask(pack_control(MessageType.HELLO, 7, 1, hello()))
        assert code(answer) == "WELCOME"
        assert answer is not None
        token = unpack_control(Welcome, answer).session
        # Another key with the same nonce gets a session of its own; with the token, none.
        stolen = actor.ask(pack_control(MessageType.HELLO, 7, 1, hello()))
        assert stolen is not None
        assert unpack_control(Welcome, stolen).session != token
        for type_ in (MessageType.STEP, MessageType.HEARTBEAT, MessageType.BYE):
            assert code(actor.ask(pack_header(type_, token, 1, rows=1))) == ErrorCode.EXPIRED
        before = fetch_status(place.server, 5, keys=place.operator())
        assert before is not None
        remove_pair(place.keys, Role.ACTOR, "zoe")

        def gone() -> bool:
            now = fetch_status(place.server, 5, keys=place.operator())
            return now is not None and now["actors"] == before["actors"] - 1

        until(gone, 10, "the end of the revoked key's session")
        assert zoe.ask(pack_control(MessageType.HELLO, 8, 1, hello()), 0.5) is None  # its connection still stands
        actor.ask(pack_header(MessageType.BYE, unpack_control(Welcome, stolen).session, 1), 0.1)
    with Stranger(place.server, Caller(public, secret, other)) as again:
        assert again.ask(pack_control(MessageType.HELLO, 9, 1, hello()), 0.5) is None


def test_no_secret_is_written_to_any_log(place: Place) -> None:
    """With -v everything that is refused is logged too: of a key, a session, or a stranger."""
    keys = caller(place.keys, Role.ACTOR, towards=Role.SERVER)
    assert keys is not None
    make_pair(place.keys, Role.ACTOR, "yara")
    actor = ("-m", "corral.cli", "actor", str(ROOT / "examples" / "cartpole.toml"), "-v", "--keys", str(place.keys))
    tokens = []
    with process(*actor, "--server", place.server) as playing, Stranger(place.server, keys) as peer:
        for nonce in (21, 22):
            answer = peer.ask(pack_control(MessageType.HELLO, nonce, 1, hello()))
            assert answer is not None
            token = unpack_control(Welcome, answer).session
            tokens.append(token)
            # Out of order, and three lies in a row, so that it is ended; then one that there is no more.
            assert code(peer.ask(pack_header(MessageType.STEP, token, 9, rows=1))) == ErrorCode.SEQUENCE
            for _ in range(3):
                assert code(peer.ask(pack_header(MessageType.STEP, token, 1, rows=1))) == ErrorCode.MALFORMED
            assert code(peer.ask(pack_header(MessageType.STEP, token, 1, rows=1))) == ErrorCode.EXPIRED
            assert code(peer.ask(pack_header(MessageType.SET, token, 1))) == ErrorCode.FORBIDDEN
        with Stranger(place.server, None) as stranger:
            stranger.ask(pack_header(MessageType.STATUS, 0, 1), 0.3)
        remove_pair(place.keys, Role.ACTOR, "yara")
        until(lambda: "joined" in playing.output, 30, "an actor that plays")
        assert playing.end() == 0
        logs = {"actor": playing.output, "learner": place.processes[0].output, "server": place.processes[1].output}
    logs |= {str(path): path.read_text() for path in place.runs.rglob("*.log")}
    assert "DEBUG" in logs["server"]
    assert "was ended; the last: MALFORMED" in logs["server"]
    assert "checkpoint" in logs["learner"]
    assert len(logs) == 4
    secret = {path.stem: read_secret(path)[1].decode() for path in place.keys.rglob("*.key_secret")}
    assert len(secret) >= 4
    for place_of, text in logs.items():
        for owner, key in secret.items():
            assert key not in text, f"{place_of} tells the secret key of {owner}"
        for token in tokens:
            assert str(token) not in text, f"{place_of} tells a session's token"
            assert f"{token:x}" not in text.lower(), f"{place_of} tells a session's token"


def test_the_dashboard_steers_with_an_operators_keys(place: Place, tmp_path: Path) -> None:
    source = Source("it", {"server": place.server, "learner": place.unrolls})
    line, stranger = Line(source, str(place.keys)), Line(source, None)
    for address in source.addresses.values():
        assert line.fetch(address, 5.0)
        assert stranger.fetch(address, 0.5) is None
    assert line.set({"server.batching.timeout_us": 700})["timeout_us"] == 700
    line.command("learner", "pause")
    until(lambda: (line.fetch(place.unrolls, 1.0) or {}).get("paused"), 10, "a pause")
    line.command("learner", "resume")
    until(lambda: (line.fetch(place.unrolls, 1.0) or {}).get("paused") is False, 10, "training again")
    copy_bundle(place.keys, Role.ACTOR, "actor", tmp_path / "for-actors")
    with pytest.raises(KeysError, match="no operator's secret key"):
        Line(source, str(tmp_path / "for-actors"))
