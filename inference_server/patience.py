"""How long to wait for a fuller batch, learned while serving. Pure: times go in, a timeout comes out, no I/O.

Actors are a closed loop, and with so many of them rows per second are all that counts: a row that waits is an actor
that does not step. Waiting can pay only if others come meanwhile, so no timeout shorter than the usual gap between
two requests is tried, and none much longer than the part of a batch's cost that does not grow with its rows, for
that part is all that a shared batch saves the server. Within these bounds the timeouts compete: one challenger at a
time serves short turns alternating with the timeout in use, and takes its place only where it has clearly answered
more rows per second, the longer of the two bearing the burden of proof. What the challengers' turns cost is kept
below one row in a hundred, a turn that costs more is broken off, and who lost is tried ever more seldom, until the
load changes. That a wait pays as fixed cost is shared, as with Nagle's algorithm, is Clipper's "delayed batching"
(Crankshaw et al. 2017, NSDI, section 4.3), whose delay is set by hand; here it is measured, since the server's own
cost model cannot know what actors and learner make of the cores that fuller batches leave them. Even so only what
reaches the server as rows counts: what else runs on the machine and gains by fuller batches is not seen.
"""

from __future__ import annotations

import math
from enum import Enum

LADDER_US = (0, *(50 << n for n in range(11)))
"""The timeouts there are: 0, 50, 100, 200 ... 51,200 microseconds."""
SHARE, ADVANCE, PRICE = 0.01, 0.3, 0.25
"""Most rows that trying other timeouts may cost: of all; before any, in turns. A trial needs so much in hand."""
MOST_CREDIT = 2
"""Turns' rows that can be saved up for trials."""
REACH = 8
"""Longest timeout tried, in fixed costs of a batch: cores that are shared multiply what a batch costs."""
HELD_TURNS = 2
"""Turns of the timeout in use between two trials, to know its speed."""
TURN_S, TURN_BATCHES, LONGEST_TURN_S = 0.1, 40, 2.0
"""How long a timeout serves until it is judged: so long, or so many batches if that is longer, but not for ever."""
SETTLE = 0.2
"""Part of a turn that passes before rows are counted: the actors still keep the step of the turn before."""
WORTH = 0.01
"""A longer wait must win this much: it also costs latency."""
PAIRS = 24
"""Pairs of turns after which a trial that is not decided is given up."""
PROOF, KEEP, DOUBT = 2.5, 1.0, 1.0
"""Standard errors by which the longer timeout must win to be taken up, to be kept, and lose to be given up."""
NOISE, NOISE_PAIRS = 0.02, 3
"""By how much, as a part, the speeds of two turns differ at least for no reason; the weight of what is believed of
that, in pairs."""
CHANGED, CHANGED_NOISES = 0.15, 3
"""A speed that differs so much from what it was, and so many times what is usual, is another load."""
SHORTEST_REST_S, LONGEST_REST_S = 1.0, 600.0
"""Until a timeout that lost is tried again: doubled each time."""


class BatchCost:
    """What a batch costs, `fixed + per_row * rows` seconds: weighted least squares that forget.

    A single outlier moves it little: what takes more than four times the expected counts as four times.
    """

    _FORGET = 1 / 256

    def __init__(self) -> None:
        self._batches = 0
        self._rows = self._seconds = self._square = self._product = 0.0

    def add(self, rows: int, seconds: float) -> None:
        """A batch of `rows` rows took `seconds`."""
        self._batches += 1
        if self._batches > 8:
            seconds = min(seconds, 4 * self.expected(rows))
        share = max(self._FORGET, 1 / self._batches)
        self._rows += share * (rows - self._rows)
        self._seconds += share * (seconds - self._seconds)
        self._square += share * (rows * rows - self._square)
        self._product += share * (rows * seconds - self._product)

    @property
    def per_row(self) -> float:
        """Seconds for each row more; 0 where batches were all alike, so that nobody can tell."""
        variance = self._square - self._rows**2
        if variance < 0.25:
            return 0.0
        slope = (self._product - self._rows * self._seconds) / variance
        return min(max(slope, 0.0), self._seconds / self._rows)

    @property
    def fixed(self) -> float:
        """Seconds of a batch, however few its rows."""
        return self._seconds - self.per_row * self._rows

    def expected(self, rows: int) -> float:
        """Seconds that a batch of `rows` rows should take."""
        return self.fixed + self.per_row * rows


class Comparison:
    """Pairs of turns of two timeouts, the longer one's speed over the shorter one's.

    Args:
      variance: of the logarithm of the speeds' ratio, as far as known.
    """

    def __init__(self, variance: float = NOISE**2) -> None:
        self.pairs = 0
        self._mean = 0.0
        self._squares = NOISE_PAIRS * variance

    def add(self, longer: float, shorter: float) -> None:
        """The two speeds of a pair."""
        ratio = math.log(max(longer, 1e-9) / max(shorter, 1e-9))
        self.pairs += 1
        off = ratio - self._mean
        self._mean += off / self.pairs
        self._squares += off * (ratio - self._mean)

    def longer_wins(self, errors: float) -> bool | None:
        """Whether the longer timeout is worth its wait, proved by so many standard errors; None is undecided."""
        if self.pairs < 2:
            return None
        error = math.sqrt(self._squares / (self.pairs - 1 + NOISE_PAIRS) / self.pairs)
        if self._mean - errors * error > WORTH:
            return True
        if self._mean + DOUBT * error < WORTH or self.pairs >= PAIRS:
            return False
        return None


class Role(Enum):
    """Whose turn it is."""

    HOLDER = "holder"  # the timeout in use
    CHALLENGER = "challenger"


class Patience:
    """Chooses the timeout by trying.

    Attributes:
      timeout_us: how long the oldest request should wait now, in microseconds.

    Args:
      now: seconds, monotonic.
    """

    def __init__(self, now: float) -> None:
        self.timeout_us = 0
        self.cost = BatchCost()
        self._last_arrival = now
        self._gap_s = 1e-3
        self._holder = 0  # places on the ladder
        self._challenger: int | None = None
        self._role = Role.HOLDER
        self._comparison = Comparison()
        self._other_speed: float | None = None  # of the first turn of a pair
        self._speed = 0.0  # the holder's, over its latest turns
        self._turns = 0  # of those
        self._strays = 0  # turns in a row of quite another speed
        self._variance = NOISE**2  # of the ratio of two turns' speeds, in logarithms
        self._credit: float | None = None  # rows that trials may cost; None before the speed is known
        self._due = [now] * len(LADDER_US)
        self._rest_s = [SHORTEST_REST_S] * len(LADDER_US)
        self._last_batch = now
        self._batch_gap_s = 0.0
        self._begin(now, settled=False)

    def arrived(self, now: float) -> None:
        """A request has arrived."""
        # The median: each gap moves it by a fiftieth, up or down. Half of the requests have a follower so soon.
        if now - self._last_arrival > self._gap_s:
            self._gap_s *= 1.02
        elif self._gap_s > 1e-6:
            self._gap_s *= 0.98
        self._last_arrival = now

    def computed(self, rows: int, seconds: float, now: float) -> None:
        """A batch of `rows` rows took `seconds` and was answered just now."""
        self.cost.add(rows, seconds)
        gap, self._last_batch = now - self._last_batch, now
        if gap - seconds > self._length_s:
            self._begin(now, settled=False)  # nobody asked for a while: this turn tells nothing
            return
        self._batch_gap_s += (gap - self._batch_gap_s) / 64 if self._batch_gap_s else gap
        if self._credit is not None:
            self._credit += SHARE * rows
            if self._role is Role.CHALLENGER:
                self._credit -= self._speed * gap - rows
                if self._credit < 0:
                    self._lose(now)
                    return
        if now < self._counts_from:
            self._counting_since = now
            return
        self._rows += rows
        if now - self._counting_since >= self._length_s:
            self._turn_over(self._rows / (now - self._counting_since), now)

    def _begin(self, now: float, *, settled: bool) -> None:
        """The next turn of whoever's it is."""
        place = self._challenger if self._role is Role.CHALLENGER else self._holder
        assert place is not None
        self.timeout_us = LADDER_US[place]
        self._length_s = self._turn_s()
        self._counts_from = now if settled else now + SETTLE * self._length_s
        self._counting_since = now
        self._rows = 0

    def _turn_s(self) -> float:
        return min(max(TURN_S, TURN_BATCHES * self._batch_gap_s), LONGEST_TURN_S)

    def _turn_over(self, speed: float, now: float) -> None:
        if self._role is Role.HOLDER:
            self._note(speed, now)
        if self._challenger is None:
            self._look_around(now)
            return
        if self._other_speed is None:
            self._other_speed = speed
            self._role = Role.CHALLENGER if self._role is Role.HOLDER else Role.HOLDER
            self._begin(now, settled=False)
            return
        mine, other = speed, self._other_speed
        self._other_speed = None
        up = self._challenger > self._holder
        self._comparison.add(*((mine, other) if (self._role is Role.CHALLENGER) is up else (other, mine)))
        verdict = self._comparison.longer_wins(PROOF if up else KEEP)
        if verdict is None:
            self._begin(now, settled=True)  # the same again: every other pair begins with the challenger
        elif verdict is up:
            self._win(now)
        else:
            self._lose(now)

    def _note(self, speed: float, now: float) -> None:
        """What the timeout in use has done in a turn."""
        if self._turns:
            square = math.log(max(speed, 1e-9) / max(self._speed, 1e-9)) ** 2
            usual = CHANGED_NOISES**2 * self._variance
            self._strays = self._strays + 1 if square > max(CHANGED**2, usual) else 0
            # Twice, since both turns of a pair deviate. Another load must not pass for noise.
            self._variance = max(NOISE**2, self._variance + (2 * min(square, usual) - self._variance) / 16)
        if self._strays == 2:  # once is chance
            self._turns = self._strays = 0
            self._everybody_again(now)
        self._turns += 1
        self._speed += (speed - self._speed) / min(self._turns, 8)
        turn = self._speed * self._turn_s()
        if self._credit is not None:
            self._credit = min(self._credit, MOST_CREDIT * turn)
        elif self._turns == HELD_TURNS:
            self._credit = ADVANCE * turn

    def _everybody_again(self, now: float) -> None:
        self._due = [now] * len(LADDER_US)
        self._rest_s = [SHORTEST_REST_S] * len(LADDER_US)

    def _look_around(self, now: float) -> None:
        """Begin a trial if there is someone to try and it can be paid, else go on."""
        price = PRICE * self._speed * self._turn_s()
        if self._turns >= HELD_TURNS and self._credit is not None and self._credit > price:
            self._challenger = self._next(now)
        if self._challenger is not None:
            self._comparison = Comparison(self._variance)
            self._role = Role.CHALLENGER
            self._other_speed = self._speed
        self._begin(now, settled=self._challenger is None)

    def _next(self, now: float) -> int | None:
        """The place that should challenge now, if any: 0 first, then who is nearest."""
        fixed_us, gap_us = self.cost.fixed * 1e6, self._gap_s * 1e6
        able = [
            place
            for place, timeout in enumerate(LADDER_US)
            if place != self._holder
            and self._due[place] <= now
            and (not place or gap_us <= timeout <= REACH * fixed_us)
        ]
        goal = LADDER_US[self._holder] or max(fixed_us / 2, 1.0)
        return min(able, key=lambda place: place and abs(math.log(LADDER_US[place] / goal)), default=None)

    def _win(self, now: float) -> None:
        assert self._challenger is not None
        self._holder, self._challenger = self._challenger, None
        self._turns = self._strays = 0
        self._everybody_again(now)
        self._due[0] = now + SHORTEST_REST_S
        self._over(now)

    def _lose(self, now: float) -> None:
        assert self._challenger is not None
        place, self._challenger = self._challenger, None
        self._due[place] = now + self._rest_s[place]
        self._rest_s[place] = min(2 * self._rest_s[place], LONGEST_REST_S)
        self._over(now)

    def _over(self, now: float) -> None:
        self._role = Role.HOLDER
        self._other_speed = None
        self._begin(now, settled=False)
