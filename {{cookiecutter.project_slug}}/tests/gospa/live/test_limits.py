import pytest
from hypothesis import given
from hypothesis import strategies as st

from gospa import rates
from gospa.live.limits import ConnectionLimits, TooMany
from gospa.rates import BURST
from gospa.settings import Settings

ANN = "192.0.2.1"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds."""
    time = [0.0]
    monkeypatch.setattr(rates, "monotonic", lambda: time[0])
    return time


def admitted(connections: ConnectionLimits, address: str, count: int) -> int:
    """How many of so many handshakes are admitted."""
    taken = 0
    for _ in range(count):
        try:
            connections.admit_handshake(address)
        except TooMany:
            continue
        taken += 1
    return taken


def test_ten_seconds_worth_of_handshakes_may_come_at_once(clock: list[float]) -> None:
    connections = ConnectionLimits(Settings(handshakes_per_second=4))
    assert admitted(connections, ANN, 100) == 40
    assert admitted(connections, "192.0.2.2", 100) == 40
    assert admitted(connections, "", 100) == 100


def test_after_a_pause_no_more_than_ten_seconds_worth_may_come(clock: list[float]) -> None:
    connections = ConnectionLimits(Settings(handshakes_per_second=4))
    assert admitted(connections, ANN, 1) == 1
    clock[0] += 1000.0
    assert admitted(connections, ANN, 40) == 40
    with pytest.raises(TooMany):
        connections.admit_handshake(ANN)


@given(st.sampled_from([0.5, 4, 64]), st.lists(st.tuples(st.floats(0, 5), st.integers(0, 99))))
def test_no_more_is_admitted_than_the_rate_and_the_burst(
    rate: float, steps: list[tuple[float, int]]
) -> None:
    connections = ConnectionLimits(Settings(handshakes_per_second=rate))
    now, taken = 0.0, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rates, "monotonic", lambda: now)
        for pause, count in steps:
            now += pause
            taken += admitted(connections, ANN, count)
            assert taken <= rate * (BURST + now) * 1.000001


def test_connections_are_counted_until_they_are_closed() -> None:
    connections = ConnectionLimits(Settings(connections_per_session=2, connections_per_address=3))
    for identity in ("one", "one", "two"):
        connections.admit(identity, ANN)
        connections.add(identity, ANN)
    with pytest.raises(TooMany, match="address"):
        connections.admit("three", ANN)
    with pytest.raises(TooMany, match="session"):
        connections.admit("one", "192.0.2.2")
    connections.remove("one", ANN)
    connections.admit("one", ANN)


def test_an_ipv6_network_counts_as_one_address() -> None:
    connections = ConnectionLimits(Settings(connections_per_address=1, handshakes_per_second=0.1))
    connections.add("one", "2001:db8::1")
    with pytest.raises(TooMany, match="connections from this address"):
        connections.admit("two", "2001:db8::2")
    connections.admit("two", "2001:db8:0:1::1")
    connections.remove("one", "2001:db8::3")
    connections.admit("two", "2001:db8::2")
    connections.admit_handshake("::ffff:192.0.2.1")
    with pytest.raises(TooMany, match="handshakes"):
        connections.admit_handshake("192.0.2.1")
