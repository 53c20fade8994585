from __future__ import annotations

from dataclasses import replace

from corral.chaos.companion import Recovery
from corral.chaos.plan import Injury
from corral.chaos.report import Report
from corral.launch.books import Books

SERVER, ACTOR = Injury("kill-server", "server"), Injury("freeze-actor", "actor-1", 2.5)
REPORT = Report(
    seed=3,
    wall_s=61.2,
    injuries=[SERVER, ACTOR, SERVER],
    recoveries=[Recovery(SERVER, 4.0), Recovery(ACTOR, 0.25), Recovery(SERVER, 6.0)],
    broken={},
    looks=400,
    books=Books(1000, 900, 40, 20, 30, 10),
    solved_s=31.4,
    solved_after=2,
    target=475.0,
    mean_return=500.0,
    code=0,
)


def test_the_last_line_says_it_all() -> None:
    assert REPORT.holds
    assert REPORT.lines()[-1] == (
        "everything holds: 3 injuries, 3 recoveries, solved after 31 s and 2 injuries; seed 3"
    )
    unsolved = replace(REPORT, broken={"once": "twice"}, solved_s=None, solved_after=0, mean_return=12.0)
    assert not unsolved.holds
    assert unsolved.lines()[-1] == (
        "BROKEN: once (twice): 3 injuries, 3 recoveries, not solved (mean return 12.0, target 475); seed 3"
    )
    assert not replace(REPORT, code=1).holds


def test_it_tells_each_kind_and_the_steps() -> None:
    told = REPORT.as_dict()
    assert told["injuries"] == {"kill-server": 2, "freeze-actor": 1}
    assert told["recovery_s"]["kill-server"] == {"times": 2, "median": 5.0, "worst": 6.0}
    assert told["steps"]["lost"] == 90
    assert "kill-server           2          2     5.0 s     6.0 s" in REPORT.lines()
    assert any("1,000 taken in, 900 accepted, 10 unfinished at the end, 90 lost (9.00%)" in line
               for line in REPORT.lines())  # fmt: skip
