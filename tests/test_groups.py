"""Tests that share a browser, a server or projects are run by one process."""

import pytest

from tests.groups import group_of

MIXED = "bare state-redis session-memory"


@pytest.mark.parametrize(
    ("nodeid", "group"),
    [
        ("tests/test_browser.py::test_a_tab[redis, 4 workers]", "browser"),
        ("tests/test_collection.py::test_an_item", "client"),
        ("tests/test_bare.py::test_it[state-redis session-memory-mypy]", MIXED),
        ("tests/test_bare.py::test_all[state-redis session-memory]", MIXED),
        ("tests/test_size.py::test_no_module[a]", "tests/test_size.py::test_no_module[a]"),
    ],
)
def test_the_group_of_a_test(nodeid: str, group: str) -> None:
    assert group_of(nodeid) == group
