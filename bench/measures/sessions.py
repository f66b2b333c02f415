"""What a session costs a request, in CPU of the worker."""

import http.client
from collections.abc import Iterator

from bench.figures import Sample
from bench.peers import OURS, ours
from bench.processes import HOST
from bench.setting import Setting

PATHS = {
    "no session": "/plain",
    "session read": "/session",
    "session changed": "/session/change",
}


def measure(setting: Setting) -> Iterator[Sample]:
    """One connection that is kept, with the visitor's cookie."""
    requests = 200 if setting.quick else 1000
    with setting.serve(ours()) as (child, port):
        connection = http.client.HTTPConnection(HOST, port)
        cookie = _get(connection, "/session/change", {})
        for number in setting.rounds(3):
            for case, path in PATHS.items():
                setting.say(f"sessions, round {number + 1}: {case}")
                before = child.cpu()
                for _ in range(requests):
                    _get(connection, path, {"Cookie": cookie})
                cost = (child.cpu() - before) / requests * 1e6
                yield Sample("sessions", case, "us CPU per request", OURS, number, cost)
        connection.close()


def _get(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> str:
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status != http.HTTPStatus.OK:
        raise ValueError(f"{path} is answered with {answer.status}")
    return (answer.headers["Set-Cookie"] or "").partition(";")[0]
