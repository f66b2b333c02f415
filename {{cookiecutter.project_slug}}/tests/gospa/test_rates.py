import pytest
from hypothesis import given
from hypothesis import strategies as st

from gospa import rates
from gospa.rates import Rates, Visitor, VisitorRates, charge, network_of


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds."""
    time = [0.0]
    monkeypatch.setattr(rates, "monotonic", lambda: time[0])
    return time


def test_a_charge_after_a_pause_counts_from_now_and_else_from_what_was_charged() -> None:
    assert charge(10.0, now=30.0, amount=4, rate=2) == 32.0
    assert charge(35.0, now=30.0, amount=4, rate=2) == 37.0


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("[2001:0db8:0001:0002::9]", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("_hidden", "_hidden"),
        ("", ""),
        ("192.0.2.1.example", "192.0.2.1.example"),
    ],
)
def test_an_address_counts_as_its_network_however_it_is_written(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    "same",
    [
        ["192.0.2.1", "192.0.2.1:443", "::ffff:192.0.2.1", "::FFFF:c000:201", "[::ffff:192.0.2.1]"],
        ["64:ff9b::192.0.2.1", "2002:c000:201::", "2002:c000:201:7::9"],
        ["2001:db8::1", "2001:0DB8:0:0:ffff::", "[2001:db8::2]", "[2001:db8::3]:443"],
        ["fe80::1", "fe80::2%eth0"],
        ["_hidden"],
        [""],
    ],
)
def test_addresses_are_compared_as_addresses_and_ipv6_by_its_network(same: list[str]) -> None:
    others = ["192.0.2.2", "2001:db8:0:1::1", "64:ff9b::192.0.2.2", "_other"]
    assert len({network_of(address) for address in same}) == 1
    assert network_of(same[0]) not in map(network_of, others)


def test_a_burst_may_come_at_once_and_then_the_rate(clock: list[float]) -> None:
    limit = Rates(2, burst=10)
    assert [limit.take("ann") for _ in range(21)] == [True] * 20 + [False]
    assert limit.wait("ann") == 0.5
    assert limit.take("bob")
    clock[0] += 0.5
    assert [limit.take("ann") for _ in range(2)] == [True, False]


def test_who_was_refused_is_admitted_after_the_time_that_was_told(clock: list[float]) -> None:
    limit = Rates(rate=2, burst=5)
    assert [limit.take("ann") for _ in range(10)] == [True] * 10
    for _ in range(1000):
        assert not limit.take("ann")  # and it is not charged for it
    assert limit.wait("ann") == 0.5
    assert limit.take("bob")
    clock[0] += limit.wait("ann")
    assert limit.take("ann")
    assert limit.wait("ann", 4) == 2.0


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 40)), max_size=30))
def test_no_more_is_admitted_than_the_rate_and_the_burst(steps: list[tuple[float, int]]) -> None:
    limit, now, taken = Rates(rate=4, burst=10), 0.0, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rates, "monotonic", lambda: now)
        for pause, amount in steps:
            now += pause
            taken += amount * limit.take("ann", amount)
            assert taken <= 4 * (10 + now) * 1.000001


def test_what_is_given_back_may_be_taken_again_but_never_saved_up(clock: list[float]) -> None:
    limit = Rates(1, burst=10)
    limit.charge("ann", 10)
    limit.charge("ann", -4)
    assert [limit.take("ann", 4), limit.take("ann", 1)] == [True, False]
    limit.charge("ann", -100)
    assert [limit.take("ann", 11), limit.take("ann", 10)] == [False, True]


def test_who_has_no_name_is_not_limited(clock: list[float]) -> None:
    limit = Rates(1, burst=1)
    assert all(limit.take("") for _ in range(100))


def test_who_was_not_seen_for_the_longest_time_is_forgotten(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "MOST", 3)
    limit = Rates(1, burst=1)
    assert limit.take("ann")
    for other in ("one", "two", "three"):
        limit.charge("ann", 0)
        assert limit.take(other)
    assert not limit.take("ann")
    assert limit.take("one")


def test_many_keys_take_bounded_memory_and_free_nobody_who_owes(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "MOST", 100)
    limit = Rates(rate=1000, burst=10)
    assert limit.take("ann", 10_000)
    for number in range(1000):
        clock[0] = number * 0.001
        assert limit.take(f"visitor {number}")
        assert len(limit) <= 100
    clock[0] = 1.0
    assert limit.wait("ann", 2000) == 1.0


def test_sessions_of_one_network_share_more_than_each_of_them_has(clock: list[float]) -> None:
    limit = VisitorRates(1, 10, share=3)

    def takes(session: str, network: str) -> bool:
        visitor = Visitor(session, network)
        taken = not limit.wait(visitor, 10)
        if taken:
            limit.charge(visitor, 10)
        return taken

    assert [takes("a", "home"), takes("a", "home"), takes("a", "cafe")] == [True, False, False]
    assert [takes(each, "home") for each in "bcd"] == [True, True, False]
    assert takes("d", "cafe")
