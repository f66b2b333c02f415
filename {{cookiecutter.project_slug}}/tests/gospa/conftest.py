"""What the engine's tests share."""

from dataclasses import fields

import pytest

from gospa.stats import STATS, Stats


@pytest.fixture
def stats() -> Stats:
    """What this process counts, from zero on."""
    zero = Stats()
    for field in fields(zero):
        setattr(STATS, field.name, getattr(zero, field.name))
    return STATS
