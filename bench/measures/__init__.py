"""One module for each measure."""

from collections.abc import Mapping

from bench.measures import (
    changes,
    commits,
    fanout,
    floods,
    inbound,
    items,
    joins,
    load_client,
    memory,
    scaling,
    sessions,
    stalls,
    starting,
    transports,
)
from bench.setting import Measure

MEASURES: Mapping[str, Measure] = {
    "load-client": load_client.measure,
    "fan-out": fanout.measure,
    "commits": commits.measure,
    "joins": joins.measure,
    "memory": memory.measure,
    "inbound": inbound.measure,
    "scaling": scaling.measure,
    "transports": transports.measure,
    "changes": changes.measure,
    "items": items.measure,
    "sessions": sessions.measure,
    "stalls": stalls.measure,
    "floods": floods.measure,
    "starting": starting.measure,
}
