from hypothesis import given
from hypothesis import strategies as st

from gospa.live.limits import BURST, TokenBucket


def test_ten_seconds_worth_may_come_at_once() -> None:
    bucket = TokenBucket(5, now=0.0)
    assert [bucket.take(10, now=0.0) for _ in range(6)] == [True] * 5 + [False]


def test_it_fills_with_time_and_not_above_its_rim() -> None:
    bucket = TokenBucket(5, now=0.0)
    assert bucket.take(50, now=0.0)
    assert bucket.take(50, now=1000.0)
    assert not bucket.take(1, now=1000.0)


@given(
    st.floats(0.1, 1000),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0, 1000)), max_size=50),
)
def test_no_more_is_taken_than_the_rate_and_the_burst(
    rate: float, steps: list[tuple[float, float]]
) -> None:
    bucket = TokenBucket(rate, now=0.0)
    now = taken = 0.0
    for pause, amount in steps:
        now += pause
        if not bucket.take(amount, now):
            return
        taken += amount
        assert taken <= rate * (BURST + now) * 1.000001
