"""The page at /, and what it loads."""

import re

import httpx


async def test_the_page_is_served_with_all_that_it_loads(http: httpx.AsyncClient) -> None:
    page = await http.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    loaded = re.findall(r'(?:href|src)="(/client/[^"]+)"', page.text)
    assert loaded
    for path in loaded:
        assert (await http.get(path)).status_code == 200
