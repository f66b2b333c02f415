"""What is to be reached, as ratios within the same run or as figures."""

from dataclasses import dataclass

from bench.centrifuge import CENTRIFUGO, MAP_BROKER
from bench.figures import Figures, Spread
from bench.peers import LIMIT, NODE, OURS

_HEADLINE = "500 clients, 200 B"


@dataclass(frozen=True, slots=True)
class Goal:
    """`other` is what ours is divided by, or empty where the figure itself counts."""

    text: str
    measure: str
    case: str
    metric: str
    other: str
    bound: float
    at_most: bool = False

    def result(self, figures: Figures) -> Spread | None:
        """What was measured, or None if it was not."""
        where = {"measure": self.measure, "case": self.case, "metric": self.metric}
        if self.other:
            return figures.ratio(OURS, self.other, **where)
        return figures.spread(subject=OURS, **where)

    def reached(self, result: Spread) -> bool:
        """Whether the median is within the bound."""
        return result.median <= self.bound if self.at_most else result.median >= self.bound


def _fanout(text: str, window: int, other: str, bound: float) -> Goal:
    case = f"{_HEADLINE}, {window} under way"
    return Goal(
        f"fan-out, {window} under way: {text}", "fan-out", case, "deliveries/s", other, bound
    )


GOALS = [
    _fanout("of the C loop", 8, LIMIT, 1.5),
    _fanout("of Node ws", 8, NODE, 1.5),
    _fanout("of the C loop", 64, LIMIT, 4),
    _fanout("of Node ws", 64, NODE, 4),
    _fanout("of tutorial Sanic", 8, "tutorial Sanic", 3),
    _fanout("of python-socketio", 8, "python-socketio", 10),
    Goal(
        "p99 at 10 messages/s: of the C loop's",
        "fan-out",
        f"{_HEADLINE}, 10/s",
        "p99 ms",
        LIMIT,
        1.3,
        at_most=True,
    ),
    *(
        Goal(
            f"commits, {rooms}: of redis-benchmark",
            "commits",
            f"{rooms}, read-modify-write",
            "commits/s",
            "redis-benchmark",
            0.5,
        )
        for rooms in ("one room, 50 members", "1,000 rooms")
    ),
    *(
        Goal(
            f"commits/s, {case}",
            "commits",
            f"{case}, read-modify-write",
            "commits/s",
            "",
            20_000,
        )
        for case in ("one client, 16 under way each", "one room, 50 members, 16 under way each")
    ),
    *(
        Goal(
            f"commits, {case}: of {other}'s",
            "commits",
            f"{case}, read-modify-write",
            "commits/s",
            other,
            bound,
        )
        for case, other, bound in (
            ("50 rooms, 16 under way each", MAP_BROKER.name, 0.6),
            ("1,000 rooms", MAP_BROKER.name, 0.5),
            ("one room, 1,000 members", CENTRIFUGO.name, 1.8),
        )
    ),
    Goal(
        "commits of one client that waits: of Node's with one script",
        "commits",
        "one client, read-modify-write",
        "commits/s",
        "Node, one script",
        0.9,
    ),
    Goal(
        "join storm: room reads of one worker",
        "join storm",
        "2,000 clients at once",
        "room reads",
        "",
        1,
        at_most=True,
    ),
    Goal(
        "us of CPU for a join: of Centrifugo's",
        "join storm",
        "2,000 clients at once",
        "us CPU per join",
        CENTRIFUGO.name,
        1.5,
        at_most=True,
    ),
    Goal(
        "KiB for an idle joined connection",
        "memory",
        "5,000 idle connections",
        "KiB per connection",
        "",
        16,
        at_most=True,
    ),
    Goal(
        "requests/s that read a session: of tutorial Sanic's with one GET",
        "sessions",
        "session read, 32 clients",
        "requests/s",
        "tutorial Sanic",
        0.9,
    ),
    Goal(
        "requests/s without a session: of the same without sessions",
        "sessions",
        "no session, 32 clients",
        "requests/s",
        "the same without sessions",
        0.98,
    ),
    Goal(
        "files/s: of Sanic's own",
        "sessions",
        "a file, 32 clients",
        "requests/s",
        "tutorial Sanic",
        1,
    ),
    *(
        Goal(
            f"longest answer with {case}, ms",
            "stalls",
            case,
            "longest answer, ms",
            "",
            bound,
            at_most=True,
        )
        for case, bound in (("50,000 rooms", 10), ("10,000 connections", 5))
    ),
    _fanout("of uWebSockets (socketify)", 8, "socketify", 0.9),
    Goal(
        "us of CPU for a small frame",
        "inbound",
        "10 clients, 2 B",
        "us CPU per frame",
        "",
        15,
        at_most=True,
    ),
]
