"""Times what actions cost in a worker, by the number of items; runs in the template's inner tree.

Prints microseconds by action and number of items, as JSON.
"""

import json
import sys
import time
from collections.abc import Callable

from gospa.state import values_of
from gospa.store.content import Content
from gospa.store.draft import Draft
from ours import Bench, BenchState

REPEATED = 5  # of which the fastest counts: what else the machine does only adds to it
ACTIONS: dict[str, Callable[[Bench, BenchState, int], None]] = {
    "change a field": lambda room, state, _: room.add(state),
    "change an item": lambda room, state, count: room.edit(state, count // 2, "another text"),
    "append and remove the oldest": lambda room, state, count: room.append(state, count),
    "len": lambda room, state, _: room.count_notes(state),
}


def content_of(count: int) -> Content:
    """A room with so many notes, and as many in the collection that keeps so many."""
    content, draft = Content({}, {}), Draft(Content({}, {}))
    state, room = BenchState.of(draft), Bench("bench/x", {"name": "x"})
    room.fill(state, 1, count)
    room.fill_kept(state, count)
    edits = draft.edits()
    content.apply(edits.set, edits.delete, b"8 bytes.")
    return content


def microseconds(count: int, name: str, seconds: float) -> float:
    """A draft, the action on it, its edits, and what follows them in the replica."""
    content, room, action = content_of(count), Bench("bench/x", {"name": "x"}), ACTIONS[name]
    best = float("inf")
    for _ in range(REPEATED):
        times, began, end = 0, time.perf_counter(), time.perf_counter() + seconds / REPEATED
        while time.perf_counter() < end:
            draft = Draft(content)
            state = BenchState.of(draft)
            action(room, state, count)
            values_of(state).finish()
            edits = draft.edits()
            content.apply(edits.set, edits.delete, times.to_bytes(8))
            times += 1
        best = min(best, (time.perf_counter() - began) / times)
    return best * 1e6


if __name__ == "__main__":
    counts, seconds = [int(each) for each in sys.argv[2:]], float(sys.argv[1])
    print(json.dumps({n: {k: microseconds(n, k, seconds) for k in ACTIONS} for n in counts}))
