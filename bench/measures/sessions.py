"""What a session costs a request, in CPU of the worker."""

import http.client
from collections.abc import Iterator

from bench.figures import Sample
from bench.peers import TUTORIAL, ours
from bench.processes import HOST, Child
from bench.setting import Setting

NONE, READ, CHANGED = "no session", "session read", "session changed"
WARM_UP = 50  # requests
PROTECTED = "tutorial Sanic, same headers"
PATHS = {NONE: "/plain", READ: "/session", CHANGED: "/session/change"}


def measure(setting: Setting) -> Iterator[Sample]:
    """One connection that is kept, with the visitor's cookie; bare Sanic does one GET instead.

    It does so once more with the security headers that the application adds to each answer.
    """
    with setting.serve(ours()) as (child, port), setting.serve(TUTORIAL) as (bare, bare_port):
        cookie = _get(http.client.HTTPConnection(HOST, port), PATHS[CHANGED], "")
        for number in setting.rounds(3):
            for case, path in PATHS.items():
                setting.say(f"sessions, round {number + 1}: {case}")
                cost = _cost(setting, child, port, path, cookie)
                yield _sample(case, ours().name, number, cost)
                if case != CHANGED:
                    for subject, prefix in ((TUTORIAL.name, ""), (PROTECTED, "/protected")):
                        cost = _cost(setting, bare, bare_port, prefix + path, cookie)
                        yield _sample(case, subject, number, cost)


def _sample(case: str, subject: str, number: int, cost: float) -> Sample:
    return Sample("sessions", case, "us CPU per request", subject, number, cost)


def _cost(setting: Setting, child: Child, port: int, path: str, cookie: str) -> float:
    requests = 200 if setting.quick else 1000
    connection = http.client.HTTPConnection(HOST, port)
    for _ in range(WARM_UP):
        _get(connection, path, cookie)
    before = child.cpu()
    for _ in range(requests):
        _get(connection, path, cookie)
    connection.close()
    return (child.cpu() - before) / requests * 1e6


def _get(connection: http.client.HTTPConnection, path: str, cookie: str) -> str:
    connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
    answer = connection.getresponse()
    answer.read()
    if answer.status != http.HTTPStatus.OK:
        raise ValueError(f"{path} is answered with {answer.status}")
    return (answer.headers["Set-Cookie"] or "").partition(";")[0]
