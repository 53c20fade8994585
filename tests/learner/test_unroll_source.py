"""The learner's intake, with the test as its servers: raw messages, every acknowledgement looked at."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from corral.protocol import (
    ErrorCode,
    Failure,
    Hello,
    MessageType,
    Report,
    Spec,
    TensorSpec,
    UnrollManifest,
    Welcome,
    pack_control,
    pack_header,
    spec_to_wire,
    unpack_header,
)
from corral.protocol.unrolls import unroll_spec
from learner import UnrollSource, unroll_source
from learner.feed import FreshFeed
from learner.listener import MAX_SERVERS
from learner.server_line import Account
from tests.support.raw import RawPeer, body

LENGTH = 2
PARTS = unroll_spec(
    {"observation": TensorSpec((), "float32")},
    {"action": TensorSpec((), "int64")},
    {"h": TensorSpec((), "float32")},
)


def wire_parts(parts: dict[str, Spec] = PARTS, length: int = LENGTH) -> dict[str, Any]:
    return {part: spec_to_wire(leaves) for part, leaves in parts.items()} | {"length": length}


class FakeServer(RawPeer):
    """A server whose unrolls are numbers: every element of unroll `n` is `n`."""

    def __init__(self, address: str, identity: int) -> None:
        super().__init__(address)
        self.identity = identity

    def receive(self, timeout_s: float = 20) -> list[bytes]:
        """The next message that is no goodbye: that of a learner before may have come, or be lost."""
        while unpack_header((message := super().receive(timeout_s))[0]).type == MessageType.BYE:
            pass
        return message

    def greet(self, first_sequence: int = 1, **changes: Any) -> Welcome:
        hello = dataclasses.replace(Hello("server", observation=wire_parts()), **changes)
        header, frames = self.ask(pack_control(MessageType.HELLO, self.identity, first_sequence, hello))
        assert header.type == MessageType.WELCOME
        return body(Welcome, frames)

    def parcel(
        self,
        sequence: int,
        *numbers: int,
        steps: int = 0,
        episodes: list[list[float]] | None = None,
        held: int = 0,
        held_before: int = 0,
    ) -> list[bytes]:
        manifest = UnrollManifest(len(numbers), steps, episodes or [], held, held_before)
        frames = [pack_control(MessageType.UNROLLS, self.identity, sequence, manifest)]
        for name, leaf in PARTS["time"].items():
            # Not every number is a discount, or a step type.
            values = np.minimum(numbers, 1) if name in ("discount", "step_type") else numbers
            frames.append(np.tile(np.array(values, leaf.dtype), (LENGTH + 1, 1)).tobytes())
        return [*frames, np.array(numbers, np.float32).tobytes()]

    def deliver(self, sequence: int, *numbers: int, **counts: Any) -> int:
        """Send a parcel and wait; how far the learner says that it has come."""
        header, _ = self.ask(*self.parcel(sequence, *numbers, **counts))
        assert header.type == MessageType.ACCEPTED
        assert header.session == self.identity
        return header.sequence


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/unrolls"


@pytest.fixture
def source(address: str) -> Iterator[UnrollSource]:
    with UnrollSource(address, queue=6, report=lambda: {"hello": 1}) as source:
        yield source


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def server(address: str, source: UnrollSource, stack: ExitStack) -> FakeServer:
    server = stack.enter_context(FakeServer(address, 77))
    assert server.greet().cursor == 0
    return server


def numbers(source: UnrollSource, unrolls: int) -> list[int]:
    unroll = source.next(unrolls, timeout_s=20)
    assert unroll is not None
    assert unroll.reward.shape == (LENGTH + 1, unrolls)
    for leaf in (unroll.observation["observation"], unroll.output["action"], unroll.version):
        np.testing.assert_array_equal(leaf, unroll.reward)
    np.testing.assert_array_equal(unroll.state["h"], unroll.reward[0])
    return unroll.reward[0].astype(int).tolist()


def test_batches_are_cut_out_of_parcels_of_any_size(source: UnrollSource, server: FakeServer) -> None:
    assert server.deliver(1, 1, 2, 3) == 1
    assert server.deliver(2, 4) == 2
    assert numbers(source, 2) == [1, 2]
    assert server.deliver(3, 5, 6) == 3
    assert numbers(source, 2) == [3, 4]
    assert numbers(source, 2) == [5, 6]
    assert source.next(1, timeout_s=0) is None


def taken(source: UnrollSource, most: int) -> list[int]:
    leaves = source.take(most, timeout_s=20)
    assert leaves is not None
    assert list(leaves) == [name for part in PARTS.values() for name in part]
    np.testing.assert_array_equal(leaves["output/action"], leaves["reward"])
    np.testing.assert_array_equal(leaves["state/h"], leaves["reward"][0])
    return leaves["reward"][0].astype(int).tolist()


def test_as_many_are_taken_as_there_are_and_are_asked_for(source: UnrollSource, server: FakeServer) -> None:
    assert source.take(4, timeout_s=0) is None
    server.deliver(1, 1, 2, 3)
    server.deliver(2, 4, 5)
    assert taken(source, 4) == [1, 2, 3, 4]
    assert taken(source, 4) == [5]
    assert source.take(4, timeout_s=0) is None
    server.deliver(3, 6, 7)
    assert taken(source, 1) == [6]
    assert numbers(source, 1) == [7]


def test_taking_makes_room(source: UnrollSource, server: FakeServer) -> None:
    server.deliver(1, 1, 2, 3, 4, 5, 6)
    server.send(*server.parcel(2, 7))
    assert server.silent()
    assert taken(source, 1) == [1]
    assert unpack_header(server.receive()[0]).sequence == 2
    assert taken(source, 10) == [2, 3, 4, 5, 6, 7]


def test_a_parcel_that_comes_twice_is_acknowledged_twice_and_counted_once(
    source: UnrollSource, server: FakeServer
) -> None:
    for _ in range(3):
        assert server.deliver(1, 1, 2, steps=10, episodes=[[5.0, 7]]) == 1
    assert server.deliver(2, 3, steps=4) == 2
    assert server.deliver(1, 1, 2, steps=10, episodes=[[5.0, 7]]) == 2
    assert numbers(source, 3) == [1, 2, 3]
    assert (source.env_steps, source.unrolls) == (14, 3)
    assert source.episodes() == [(5.0, 7)]
    assert source.episodes() == []


def test_what_comes_behind_a_gap_waits_for_the_resend_that_closes_it(
    source: UnrollSource, server: FakeServer
) -> None:
    for sequence in (3, 2, 3, 2):
        server.send(*server.parcel(sequence, sequence))
    assert server.silent()
    assert source.env_steps == source.unrolls == 0
    server.send(*server.parcel(1, 1))
    assert unpack_header(server.receive()[0]).sequence == 3
    assert server.deliver(2, 2) == 3
    assert server.deliver(4, 4) == 4
    assert numbers(source, 4) == [1, 2, 3, 4]


def test_behind_gaps_no_more_is_kept_than_the_queue_holds_whoever_sends_it(
    source: UnrollSource, address: str, stack: ExitStack
) -> None:
    one, other, third = (stack.enter_context(FakeServer(address, identity)) for identity in (1, 2, 3))
    for server in (one, other, third):
        server.greet()
    one.send(*one.parcel(2, 12, 12, 12, 12))
    other.send(*other.parcel(2, 22, 22))
    assert one.silent()
    assert other.silent()
    third.send(*third.parcel(2, 32))  # one too many
    assert third.silent()
    assert sum(line.unrolls for line in source._servers.values()) == 6
    # What closes a gap is always taken, and so is what follows.
    assert third.deliver(1, 31) == 1
    assert one.deliver(1, 11) == 2
    assert numbers(source, 6) == [31, 11, 12, 12, 12, 12]
    assert third.deliver(2, 32) == 2  # sent again
    assert other.deliver(1, 21) == 2
    assert numbers(source, 4) == [32, 21, 22, 22]


def test_nothing_is_kept_that_is_farther_ahead_than_the_window(source: UnrollSource, server: FakeServer) -> None:
    for sequence in range(2, 60):
        server.send(*server.parcel(sequence, sequence))
    assert server.silent()
    (line,) = source._servers.values()
    assert max(line._waiting) == source._queue
    assert server.deliver(1, 1) == source._queue
    assert numbers(source, 1) == [1]


def test_nothing_is_acknowledged_that_does_not_fit_the_queue(source: UnrollSource, server: FakeServer) -> None:
    assert server.deliver(1, 1, 2, 3, 4, 5, 6) == 1
    server.send(*server.parcel(2, 7, steps=1))
    assert server.silent()
    assert source.env_steps == 0
    assert numbers(source, 6) == [1, 2, 3, 4, 5, 6]
    assert unpack_header(server.receive()[0]).sequence == 2
    assert source.env_steps == 1
    assert numbers(source, 1) == [7]


def test_nothing_is_accepted_ahead_of_who_asks_where_that_is_not_wanted(address: str, stack: ExitStack) -> None:
    source = stack.enter_context(UnrollSource(address, queue=4, ahead=False))
    server = stack.enter_context(FakeServer(address, 1))
    assert server.greet().window == 4  # as many may be ready at the server
    server.send(*server.parcel(1, 1, steps=1))
    server.send(*server.parcel(2, 2, 3, steps=1))
    server.send(*server.parcel(3, 4, steps=1))
    assert server.silent()
    assert source.env_steps == 0
    assert numbers(source, 2) == [1, 2]
    assert unpack_header(server.receive()[0]).sequence == 2
    assert server.silent()
    assert source.env_steps == 2
    assert numbers(source, 1) == [3]  # it had come with the other
    assert server.silent()
    assert taken(source, 4) == [4]
    assert unpack_header(server.receive()[0]).sequence == 3
    # Whoever asks first is served as it comes.
    later = threading.Thread(target=lambda: server.deliver(4, 5, 6))
    later.start()
    assert numbers(source, 2) == [5, 6]
    later.join(20)


def test_who_asks_for_more_than_the_queue_holds_does_not_make_it_longer(address: str, stack: ExitStack) -> None:
    source = stack.enter_context(UnrollSource(address, queue=4, ahead=False))
    servers = [stack.enter_context(FakeServer(address, identity)) for identity in (1, 2)]
    for server in servers:
        server.greet()
    for server, first in zip(servers, (1, 11), strict=True):
        server.send(*server.parcel(1, first, first + 1))
        server.send(*server.parcel(2, first + 2, first + 3))
        assert server.silent()
    assert taken(source, 1000) == [1, 2, 11, 12]  # in turn
    assert taken(source, 1000) == [3, 4, 13, 14]


def test_a_server_that_greets_again_hears_how_far_it_has_come(
    source: UnrollSource, server: FakeServer, address: str
) -> None:
    server.deliver(1, 1)
    server.deliver(2, 2)
    with FakeServer(address, server.identity) as reconnected:
        assert reconnected.greet(first_sequence=2).cursor == 2
        assert reconnected.deliver(3, 3) == 3
    assert numbers(source, 3) == [1, 2, 3]


def test_a_new_learner_begins_with_what_the_server_still_has(source: UnrollSource, address: str) -> None:
    with FakeServer(address, 5) as old_hand:
        unknown = old_hand.refusal(*old_hand.parcel(40, 1))
        assert unknown.code == ErrorCode.EXPIRED
        assert old_hand.greet(first_sequence=40).cursor == 39
        assert old_hand.deliver(40, 1) == 40


def test_two_servers_do_not_mix_up_their_cursors(source: UnrollSource, server: FakeServer, address: str) -> None:
    with FakeServer(address, 78) as other:
        other.greet()
        assert server.deliver(1, 1) == 1
        assert other.deliver(1, 2) == 1
        assert other.deliver(2, 3) == 2
        assert server.deliver(2, 4) == 2
    assert numbers(source, 4) == [1, 2, 3, 4]


def test_servers_take_turns(source: UnrollSource, server: FakeServer, address: str) -> None:
    """One that always has something waiting does not keep the others out."""
    with FakeServer(address, 78) as other:
        other.greet()
        server.deliver(1, 1, 1, 1, 1, 1, 1)
        for sequence in range(2, 8):
            server.send(*server.parcel(sequence, 1))
        for sequence in range(1, 6):
            other.send(*other.parcel(sequence, 2))
        assert server.silent()
        assert other.silent()
        taken = numbers(source, 6) + numbers(source, 6) + numbers(source, 5)
    assert taken[:6] == [1] * 6
    assert taken[6:] == [2, 1] * 5 + [1]


def test_more_than_the_window_is_not_taken_in(source: UnrollSource, server: FakeServer) -> None:
    server.deliver(1, *range(6))
    for sequence in range(2, 6):
        server.send(*server.parcel(sequence, *range(5)))
    assert server.silent()
    assert numbers(source, 6) + numbers(source, 5) + numbers(source, 5) == [*range(6), *range(5), *range(5)]
    assert source.next(1, timeout_s=0.0) is None  # the others have to come again
    while server.deliver(4, 7) < 4:
        pass  # what was accepted meanwhile is told too
    assert numbers(source, 1) == [7]


def test_what_a_server_left_behind_is_still_taken(source: UnrollSource, server: FakeServer, address: str) -> None:
    server.deliver(1, 1, 2, 3, 4, 5, 6)
    with FakeServer(address, 78) as short_lived:
        short_lived.greet()
        short_lived.send(*short_lived.parcel(1, 7, 8, steps=5, episodes=[[1.0, 5]]))
        assert short_lived.silent()
    assert numbers(source, 6) == [1, 2, 3, 4, 5, 6]
    assert numbers(source, 2) == [7, 8]
    assert source.env_steps == 5
    assert server.deliver(2, 9) == 2
    assert numbers(source, 1) == [9]


def test_wrong_greetings_are_refused_with_both_sides(
    source: UnrollSource, server: FakeServer, address: str
) -> None:
    other = unroll_spec({"observation": TensorSpec((3,), "float32")}, {"action": TensorSpec((), "int64")}, {})
    for changes, text in (
        ({"role": "actor"}, "not 'actor'"),
        ({"versions": [9]}, "version 1, the caller speaks [9]"),
        ({"observation": {}}, "time, state and length"),
        ({"observation": wire_parts(other)}, "float32[] here and float32[3] there"),
        ({"observation": wire_parts(length=9)}, "2 transitions here and 9 there"),
    ):
        with FakeServer(address, 99) as liar:
            hello = dataclasses.replace(Hello("server", observation=wire_parts()), **changes)
            refusal = liar.refusal(pack_control(MessageType.HELLO, 99, 1, hello))
            assert text in refusal.text
    assert server.deliver(1, 1) == 1


def test_the_first_server_does_not_set_an_impossible_measure(source: UnrollSource, address: str) -> None:
    with FakeServer(address, 1) as liar:
        for length in (-5, 0, True):
            hello = Hello("server", observation=wire_parts(length=length))
            refusal = liar.refusal(pack_control(MessageType.HELLO, 1, 1, hello))
            assert "length (1 or more)" in refusal.text
    with FakeServer(address, 2) as honest:
        honest.greet()
        assert honest.deliver(1, 1) == 1


def test_leaves_that_an_unroll_has_no_place_for_are_refused(source: UnrollSource, address: str) -> None:
    time, state = PARTS["time"], PARTS["state"]
    lacking = {name: leaf for name, leaf in time.items() if name != "reward"}
    for parts, text in (
        ({"time": lacking, "state": state}, "'reward'"),
        ({"time": dict(time) | {"extra": time["reward"]}, "state": state}, "'extra'"),
        ({"time": dict(time) | {"reward": TensorSpec((2,), "float32")}, "state": state}, "float32[2] there"),
        ({"time": time, "state": {"h": state["state/h"]}}, "begin with \"state/\", not ['h']"),
    ):
        with FakeServer(address, 1) as liar:
            hello = Hello("server", observation=wire_parts(parts))
            refusal = liar.refusal(pack_control(MessageType.HELLO, 1, 1, hello))
            assert refusal.code == ErrorCode.SPEC
            assert text in refusal.text
    with FakeServer(address, 2) as honest:
        honest.greet()
        assert honest.deliver(1, 1) == 1


def test_a_learner_that_knows_its_length_insists_on_it(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/strict"
    with UnrollSource(address, length=LENGTH), FakeServer(address, 1) as server:
        hello = Hello("server", observation=wire_parts(length=LENGTH + 1))
        assert "2 transitions here and 3 there" in server.refusal(pack_control(MessageType.HELLO, 1, 1, hello)).text
        server.greet()


def test_wrong_parcels_are_refused_and_the_right_one_is_taken(source: UnrollSource, server: FakeServer) -> None:
    good = server.parcel(1, 1, 2)
    for bad, text in (
        (good[:-1], "7 tensors make an unroll; got 6 frames"),
        ([*good, b""], "got 8 frames"),
        ([good[0], good[1][:-4], *good[2:]], "24 bytes; the frame has 20"),
        ([good[0][:-1], *good[1:]], "no msgpack"),
        (server.parcel(1, 1, 2, steps=-1), "-1 steps were completed"),
        (server.parcel(1, 1, 2, episodes=[[1.0]]), "an episode is [return, length]"),
        (server.parcel(1, 1, 2, episodes=[[1.0, float("nan")]]), "both finite"),
        (server.parcel(1, 1, 2, episodes=[[1.0, 2.0, 3.0]]), "an episode is [return, length]"),
        ([b"garbage"], "24 header bytes; got 7"),
        ([b""], "24 header bytes; got 0"),
        ([pack_header(MessageType.STEP, 1, 1)], "no messages of type 3"),
    ):
        assert text in server.refusal(*bad).text
    assert server.deliver(1, 1, 2) == 1
    assert numbers(source, 2) == [1, 2]


def test_a_server_that_ignores_its_window_is_not_listened_to(source: UnrollSource, server: FakeServer) -> None:
    server.deliver(1, 1, 2, 3, 4, 5, 6)
    for sequence in range(2, 50):
        server.send(*server.parcel(sequence, sequence))
    assert server.silent()
    assert numbers(source, 6) == [1, 2, 3, 4, 5, 6]
    assert unpack_header(server.receive()[0]).sequence == 7, "a window of 6 behind a full queue"
    assert numbers(source, 6) == [2, 3, 4, 5, 6, 7]


def test_status_is_answered_while_the_queue_is_full(source: UnrollSource, server: FakeServer) -> None:
    server.deliver(1, 1, 2, 3, 4, 5, 6)
    server.send(*server.parcel(2, 7))
    header, frames = server.ask(pack_header(MessageType.STATUS, 0, 9))
    assert (header.type, header.sequence) == (MessageType.REPORT, 9)
    assert body(Report, frames).figures == {"role": "learner", "ready": True, "hello": 1, "parcels_lost": 0}


def test_a_batch_larger_than_the_queue_would_never_come(source: UnrollSource) -> None:
    with pytest.raises(ValueError, match="7 unrolls does not fit a queue of 6"):
        source.next(7, timeout_s=1)


def test_a_batch_of_nothing_is_none(source: UnrollSource) -> None:
    with pytest.raises(ValueError, match="1 unroll or more, not 0"):
        source.next(0, timeout_s=1)


def test_closing_frees_the_address(address: str) -> None:
    for _ in range(2):
        source = UnrollSource(address)
        source.close()
        assert source.next(1, timeout_s=5) is None
        assert not Path(address.removeprefix("ipc://")).exists()


def test_closing_wakes_whoever_waits(address: str) -> None:
    got: list[Any] = []
    source = UnrollSource(address)
    waiting = threading.Thread(target=lambda: got.append(source.next(1, timeout_s=60)))
    batches = threading.Thread(target=lambda: got.append(list(source.batches(1))))
    for thread in (waiting, batches):
        thread.start()
    source.close()
    for thread in (waiting, batches):
        thread.join(10)
    assert None in got
    assert [] in got


def test_nothing_stays_open(address: str) -> None:
    UnrollSource(address).close()
    before = psutil.Process().num_fds()
    closed = [UnrollSource(f"{address}{number}") for number in range(3)]
    for source in closed:
        source.close()
    assert psutil.Process().num_fds() == before


def test_a_learner_that_goes_on_accepts_nothing_again_and_counts_what_was_lost(
    address: str, stack: ExitStack
) -> None:
    first = UnrollSource(address, queue=20)
    server, other = (stack.enter_context(FakeServer(address, identity)) for identity in (2**64 - 1, 5))
    server.greet()
    other.greet()
    assert server.deliver(1, 10, steps=3, held=3) == 1
    assert server.deliver(2, 20, steps=4, held=4, held_before=3) == 2
    assert other.deliver(1, 11) == 1
    position = first.position()
    accounts = position.accounts
    assert accounts == {2**64 - 1: Account(2, held=7), 5: Account(1)}
    assert (position.env_steps, position.steps_accepted) == (7, 7)
    assert (
        server.deliver(3, 30, held=5, held_before=7) == 3
    )  # accepted behind the checkpoint: lost with the learner
    first.close()

    with UnrollSource(address, queue=20, expect=PARTS, length=LENGTH, accounts=accounts) as second:
        # Whoever does not know yet that this is another life is told so.
        assert other.refusal(*other.parcel(1, 11)).code == ErrorCode.EXPIRED
        # It never heard that 1 was accepted, and sends it again.
        assert other.greet(first_sequence=1).cursor == 1
        assert other.deliver(1, 11) == 1
        assert other.deliver(2, 12) == 2
        assert server.greet(first_sequence=4).cursor == 3
        assert second.steps_lost == 0  # how many there were is told with the next parcel
        assert server.deliver(4, 40, held=6, held_before=12) == 4
        assert second.steps_lost == 5
        assert sorted(numbers(second, 2)) == [12, 40]
        assert second.parcels_lost == 1
        assert second.position().accounts == {2**64 - 1: Account(4, held=18, lost=5), 5: Account(2)}
        assert second.position().accounts[2**64 - 1].accepted == 13
        # All that a server had delivered which came behind the checkpoint is lost, too.
        late = stack.enter_context(FakeServer(address, 9))
        assert late.greet(first_sequence=5).cursor == 4
        assert second.parcels_lost == 5


def test_what_waited_is_handed_out_again_by_the_next_life(address: str, stack: ExitStack) -> None:
    with UnrollSource(address, queue=20, expect=PARTS, length=LENGTH) as first:
        server = stack.enter_context(FakeServer(address, 3))
        server.greet()
        server.deliver(1, 1, 2, 3)
        assert numbers(first, 1) == [1]
        position = first.position()
    feed = FreshFeed(first, 2)
    state = feed.state(position.waiting)
    with UnrollSource(address, queue=20, expect=PARTS, length=LENGTH, accounts=position.accounts) as second:
        FreshFeed(second, 2).restore(dict(sorted(state.items(), reverse=True)))
        server.greet(first_sequence=2)
        server.deliver(2, 4)
        leaves = second.take(1, timeout_s=20)
        assert leaves is not None
        assert list(leaves) == [*PARTS["time"], *PARTS["state"]]  # whatever order the file had
        assert numbers(second, 2) == [3, 4]


def test_what_waited_and_does_not_fit_any_more_is_dropped_with_a_word(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    leaves = {name: leaf.zeros(LENGTH + 2, 5) for name, leaf in PARTS["time"].items()} | {"state/h": np.zeros(5)}
    with UnrollSource(address, queue=20, expect=PARTS, length=LENGTH) as source:
        FreshFeed(source, 2).restore({f"waiting/{name}": leaf for name, leaf in leaves.items()})
        assert source.take(9, timeout_s=0) is None
    assert "5 unrolls that waited for training are dropped" in caplog.text


def test_strangers_who_only_greet_are_forgotten_and_nobody_else(
    source: UnrollSource, server: FakeServer, address: str
) -> None:
    server.deliver(1, 1)
    with FakeServer(address, 0) as stranger:
        for identity in range(1000, 1000 + 2 * MAX_SERVERS):
            stranger.identity = identity
            stranger.greet()
        assert len(source._servers) == MAX_SERVERS
        # The one that was forgotten first is told so, greets again, and goes on.
        stranger.identity = 1000
        assert stranger.refusal(*stranger.parcel(1, 2)).code == ErrorCode.EXPIRED
        stranger.greet()
        assert stranger.deliver(1, 2) == 1
    assert server.deliver(2, 3) == 2
    assert numbers(source, 3) == [1, 2, 3]


def test_a_server_that_was_forgotten_goes_on_where_it_was(
    source: UnrollSource, server: FakeServer, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unroll_source, "MAX_SERVERS", 2)
    server.deliver(1, 1)
    with FakeServer(address, 0) as other:
        for identity in (101, 102):
            other.identity = identity
            other.greet()
            other.deliver(1, 2)
    cursors = {identity: account.cursor for identity, account in source.position().accounts.items()}
    assert cursors == {server.identity: 1, 101: 1, 102: 1}
    assert server.refusal(*server.parcel(2, 3)).code == ErrorCode.EXPIRED
    # It has not heard that parcel 1 was accepted: that is not to be taken in again.
    assert server.greet(first_sequence=1).cursor == 1
    assert server.deliver(2, 3) == 2
    assert numbers(source, 4) == [1, 2, 2, 3]


def test_newcomers_find_a_place_among_many_that_have_left(
    source: UnrollSource, address: str, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unroll_source, "MAX_SERVERS", 8)
    with FakeServer(address, 0) as gone:
        for identity in range(100, 108):
            gone.identity = identity
            gone.greet()
            gone.deliver(1, 1)
            assert numbers(source, 1) == [1]
    newcomers = [stack.enter_context(FakeServer(address, identity)) for identity in (1, 2, 3, 4)]
    for each in newcomers:
        each.greet()
    for each in newcomers:
        assert each.deliver(1, 2) == 1


def test_no_server_is_forgotten_whose_unrolls_wait(
    source: UnrollSource, server: FakeServer, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unroll_source, "MAX_SERVERS", 1)
    server.deliver(1, *range(6))
    server.send(*server.parcel(2, 7))
    assert server.silent()
    with FakeServer(address, 101) as other:
        hello = Hello("server", observation=wire_parts())
        assert other.refusal(pack_control(MessageType.HELLO, 101, 1, hello)).code == ErrorCode.BUSY
        assert numbers(source, 6) == list(range(6))
        assert numbers(source, 1) == [7]
        other.greet()


def test_a_server_that_waits_behind_a_gap_makes_room_for_another(
    source: UnrollSource, server: FakeServer, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unroll_source, "MAX_SERVERS", 1)
    server.send(*server.parcel(2, 2))
    assert server.silent()
    with FakeServer(address, 101) as other:
        other.greet()
        assert other.deliver(1, 7) == 1
        assert server.refusal(*server.parcel(1, 1)).code == ErrorCode.EXPIRED
        server.greet()
        assert server.deliver(1, 1) == 1
        assert server.deliver(2, 2) == 2
    assert numbers(source, 3) == [7, 1, 2]


@pytest.mark.parametrize(
    ("leaf", "value", "text"),
    [
        ("reward", np.nan, "a reward is not finite"),
        ("reward", -np.inf, "a reward is not finite"),
        ("discount", 1.5, "a discount is 0 to 1"),
        ("discount", np.nan, "a discount is 0 to 1"),
        ("step_type", 3, "a step type is 0 to 2"),
    ],
)
def test_unrolls_that_hold_what_cannot_be(
    source: UnrollSource, server: FakeServer, leaf: str, value: float, text: str
) -> None:
    frames = server.parcel(1, 1)
    place = 1 + list(PARTS["time"]).index(leaf)
    array = np.frombuffer(frames[place], PARTS["time"][leaf].dtype).copy()
    array[-1] = value
    frames[place] = array.tobytes()
    refusal = server.refusal(*frames)
    assert (refusal.code, text in refusal.text) == (ErrorCode.MALFORMED, True), refusal.text
    assert server.deliver(1, 1) == 1


def test_counts_that_no_figure_could_hold(address: str) -> None:
    """The status has to be told, whatever a server says of itself."""
    with UnrollSource(address, queue=6, accounts={}) as source, FakeServer(address, 1) as liar:
        hello = Hello("server", observation=wire_parts())
        assert liar.refusal(pack_control(MessageType.HELLO, 1, 2**64 - 1, hello)).code == ErrorCode.LIMIT
        for identity in (1, 2, 3):
            liar.identity = identity
            liar.greet(first_sequence=2**63 - 1)
        liar.greet(first_sequence=2**63 - 1)
        assert "0 to 1099511627776 can be" in liar.refusal(*liar.parcel(2**63 - 1, 1, steps=2**41)).text
        header, frames = liar.ask(pack_header(MessageType.STATUS, 0, 0))
        assert header.type == MessageType.REPORT
        assert body(Report, frames).figures["parcels_lost"] == 2**63 - 1 == source.parcels_lost


@pytest.mark.timeout(60)
def test_a_flood_does_not_keep_unrolls_out(source: UnrollSource, server: FakeServer, address: str) -> None:
    """Somebody who sends without end must not keep the learner from taking in what others bring."""
    stop = threading.Event()

    def flood() -> None:
        with RawPeer(address) as peer:
            while not stop.is_set():
                peer.send(pack_header(MessageType.STATUS, 0, 0))

    floods = [threading.Thread(target=flood) for _ in range(2)]
    for each in floods:
        each.start()
    try:
        for sequence in range(1, 20):
            assert server.deliver(sequence, 1) == sequence
            assert numbers(source, 1) == [1]
    finally:
        stop.set()
        for each in floods:
            each.join()


def test_a_message_of_many_parts_is_refused_like_any_other(source: UnrollSource, server: FakeServer) -> None:
    head, *leaves = server.parcel(1, 1)
    assert server.refusal(head, *leaves, *[b""] * 50_000).code == ErrorCode.SPEC
    assert server.deliver(1, 1) == 1


def test_in_lockstep_one_server_delivers_and_with_our_weights_alone(address: str, stack: ExitStack) -> None:
    stack.enter_context(UnrollSource(address, queue=6, epoch=lambda: 8))
    server, other = (stack.enter_context(FakeServer(address, identity)) for identity in (1, 2))

    def refusal(peer: FakeServer, epoch: int) -> str:
        hello = Hello("server", epoch=epoch, observation=wire_parts())
        header, frames = peer.ask(pack_control(MessageType.HELLO, peer.identity, 1, hello))
        assert header.type == MessageType.ERROR
        return body(Failure, frames).code

    assert refusal(server, 7) == ErrorCode.NOT_READY
    header, frames = server.ask(*server.parcel(1, 5))  # of a learner before: it is nobody's
    assert (header.type, body(Failure, frames).code) == (MessageType.ERROR, ErrorCode.EXPIRED)
    server.greet(first_sequence=2, epoch=8)
    assert server.deliver(2, 6) == 2
    assert refusal(other, 8) == ErrorCode.BUSY
