"""A short run of the fuzzer; `python -m tests.gospa.fuzz` goes on for longer."""

import pytest

from tests.gospa.fuzz import Fuzz


@pytest.mark.parametrize("seed", range(3))
async def test_no_input_ends_in_anything_but_a_refusal(seed: int) -> None:
    fuzz = Fuzz(seed)
    await fuzz.run(2000)
    seen = set(fuzz.outcomes)
    assert {"open", "closed 1002", "closed 4500", "a message", "no message"} <= seen
    assert {"a session", "no session", "a known cookie", "an unknown cookie"} <= seen
