"""Which tests run in the same process, because they share a browser, a server or projects."""

import re
from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling

ALONE = (
    *("accessibility", "auction", "bench", "browser", "browser_failures", "browser_faults"),
    *("browser_rooms", "browser_sessions", "browser_streams", "client", "msgpack", "own_package"),
)
SAME = ("client_collections", "client_history", "client_packages", "client_stream", "collection")
GROUPS = {
    **{name: name for name in ALONE},
    **dict.fromkeys(SAME, "client"),
    **dict.fromkeys(("deployment", "documentation", "matrix"), "matrix"),
}
COMBINATION = re.compile(r"\[(state-\w+ session-\w+)")  # the first parameter: a project of its own


def subject_of(nodeid: str) -> str:
    """What a test's file is called, without `test_`."""
    return PurePosixPath(nodeid.partition("::")[0]).stem.removeprefix("test_")


def group_of(nodeid: str) -> str:
    """The group of a test; one that shares nothing is its own."""
    subject = subject_of(nodeid)
    if group := GROUPS.get(subject):
        return group
    combination = COMBINATION.search(nodeid)
    return f"{subject} {combination[1]}" if combination else nodeid


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist's has no types
    """Gives each process whole groups, in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
