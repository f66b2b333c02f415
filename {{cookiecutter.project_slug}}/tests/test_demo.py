"""What the demonstration breaks on purpose, and what its page shows of the code."""

import os
import re
from html import unescape
from pathlib import Path

import pytest

from gospa.testing import OpenApp

HERE = Path(__file__).parents[1]


@pytest.mark.parametrize("demo", [True, False])
async def test_only_workers_are_killed_and_only_in_the_demonstration(
    open_app: OpenApp, demo: bool
) -> None:
    async with open_app(demo=demo) as site, site.http() as http:
        for pid in (str(os.getpid()), str(os.getppid()), "0", "-1", "x", ""):
            answer = await http.post("/demo/kill-worker", data={"pid": pid})
            assert answer.status_code == (400 if demo else 404)


def test_the_code_that_the_page_shows_is_the_code_that_runs() -> None:
    page = (HERE / "client/index.html").read_text(encoding="utf-8")
    shown = re.findall(r'<code data-file="([^"]+)">(.*?)</code>', page, re.DOTALL)
    assert shown
    for file, text in shown:
        source = (HERE / file).read_text(encoding="utf-8").splitlines()
        for line in unescape(text).splitlines():
            assert not line.strip() or line in source, f"{file}: {line}"
