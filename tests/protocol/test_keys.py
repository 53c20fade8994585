"""Keys as files: made, carried, refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from corral.protocol import MessageType, ProtocolError
from corral.protocol.keys import (
    MAY,
    Gate,
    KeysError,
    Role,
    caller,
    copy_bundle,
    make_pair,
    read_public,
    read_secret,
    remove_pair,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys = tmp_path / "keys"
    for role, name in ((Role.SERVER, ""), (Role.LEARNER, ""), (Role.ACTOR, "one"), (Role.OPERATOR, "me")):
        make_pair(keys, role, name)
    return keys


def test_a_secret_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        secret = make_pair(tmp_path, Role.ACTOR, "one")
    finally:
        os.umask(before)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert os.umask(before) == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o610])
def test_a_secret_that_others_can_touch_is_refused(folder: Path, mode: int) -> None:
    path = folder / "server.key_secret"
    path.chmod(mode)
    for use in (lambda: read_secret(path), lambda: Gate(folder, Role.SERVER)):
        with pytest.raises(KeysError, match="chmod 600"):
            use()


def test_a_caller_holds_its_own_pair_and_whom_it_trusts(folder: Path) -> None:
    found = caller(folder, Role.ACTOR, towards=Role.SERVER)
    assert found == (*read_secret(folder / "actors/one.key_secret"), read_public(folder / "server.key"))
    assert caller("", Role.ACTOR, towards=Role.SERVER) is None
    assert caller(None, Role.ACTOR, towards=Role.SERVER) is None


def test_every_pair_is_another(folder: Path) -> None:
    keys = {read_public(path) for path in folder.rglob("*.key")}
    assert len(keys) == 4


def test_nothing_is_overwritten(folder: Path) -> None:
    for role, name in ((Role.SERVER, ""), (Role.ACTOR, "one")):
        with pytest.raises(KeysError, match="there already"):
            make_pair(folder, role, name)


@pytest.mark.parametrize("name", ["", "../two", "a/b", ".hidden", "x" * 65, "a b", "a\n"])
def test_a_name_cannot_leave_the_folder(folder: Path, name: str) -> None:
    for use in (
        lambda: make_pair(folder, Role.ACTOR, name),
        lambda: remove_pair(folder, Role.ACTOR, name),
        lambda: copy_bundle(folder, Role.ACTOR, name, folder / "there"),
    ):
        with pytest.raises(KeysError):
            use()
    assert not (folder / "there").exists()


@pytest.mark.parametrize(
    ("text", "said"), [("", "No public key"), ('public-key = "short"', "5 characters"), ("\0\xff", "No public key")]
)
def test_a_file_that_is_no_key_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.key"
    path.write_text(text)
    with pytest.raises(KeysError, match=said) as refused:
        read_public(path)
    assert str(path) in str(refused.value)


def test_what_is_missing_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="corral keys new"):
        Gate(tmp_path, Role.SERVER)
    with pytest.raises(KeysError, match="corral keys add"):
        caller(tmp_path, Role.OPERATOR, towards=Role.SERVER)


def test_a_bundle_holds_one_secret_and_what_it_needs(folder: Path, tmp_path: Path) -> None:
    expected = {
        (Role.ACTOR, "one"): {"actors/one.key_secret", "server.key"},
        (Role.OPERATOR, "me"): {"operators/me.key_secret", "server.key", "learner.key"},
        (Role.SERVER, "server"): {
            "server.key_secret", "server.key", "learner.key", "actors/one.key", "operators/me.key",
        },
        (Role.LEARNER, "learner"): {"learner.key_secret", "server.key", "learner.key", "operators/me.key"},
    }  # fmt: skip
    for (role, name), files in expected.items():
        target = tmp_path / f"for-{name}"
        copies = copy_bundle(folder, role, name, target)
        assert {str(path.relative_to(target)) for path in copies} == files
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in copies)
        for towards in {Role.SERVER, Role.LEARNER} if role is Role.OPERATOR else {Role.SERVER}:
            if role is not Role.SERVER:
                assert caller(target, role, towards) == caller(folder, role, towards)
    with pytest.raises(KeysError, match="there already"):
        copy_bundle(folder, Role.ACTOR, "one", target)


def test_a_gate_knows_who_comes_and_goes(folder: Path) -> None:
    gate = Gate(folder, Role.SERVER)
    one, operator = (read_public(folder / name) for name in ("actors/one.key", "operators/me.key"))
    assert gate.callback("*", one)
    assert not gate.callback("*", read_public(folder / "server.key"))
    assert gate.look_again() == frozenset()
    make_pair(folder, Role.ACTOR, "two")
    two = read_public(folder / "actors/two.key")
    assert gate.callback("*", two)  # at its first handshake
    assert gate.check(two.decode(), MessageType.STEP)
    with pytest.raises(ProtocolError, match=r"FORBIDDEN: the operator key may not send STEP here"):
        gate.check(operator.decode(), MessageType.STEP)
    with pytest.raises(ProtocolError, match="type 77"):
        gate.check(operator.decode(), 77)
    remove_pair(folder, Role.ACTOR, "two")
    assert gate.look_again() == {two.decode()}
    assert not gate.check(two.decode(), MessageType.STEP)
    assert gate.refused == 1
    assert not gate.callback("*", two)


def test_nobody_may_do_the_others_work() -> None:
    for owner, admitted in MAY.items():
        assert owner not in admitted
    assert not MAY[Role.SERVER][Role.ACTOR] & MAY[Role.SERVER][Role.OPERATOR]
    assert not MAY[Role.LEARNER][Role.SERVER] & MAY[Role.LEARNER][Role.OPERATOR]
