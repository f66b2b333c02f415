"""What was measured on: the machine and the versions, without names of hosts or folders."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from bench.peers import Place

PACKAGES = (
    *("sanic", "uvloop", "websockets", "redis", "hiredis", "msgspec", "msgpack"),
    *("python-socketio", "channels", "channels-redis", "uvicorn"),
)
NODE_PACKAGES = ("ws", "ioredis", "socket.io", "@socket.io/redis-adapter")
GO_MODULES = {"centrifugo": "mod", "mapbroker": "dep"}  # where a program names what counts


def describe(place: Place) -> dict[str, str]:
    """Facts by name, for people."""
    return {
        "CPU": _cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "load average before": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": platform.python_version(),
        "Redis": _said(["redis-server", "--version"], r"v=(\S+)"),
        "C compiler": _said(["cc", "--version"], r"(.*)").splitlines()[0],
        "Go": _said(["go", "version"], r"go(\d\S*)"),
        "Node": _said(["node", "--version"], r"(.*)"),
        **{name: metadata.version(name) for name in PACKAGES},
        **_node_packages(place.node),
        **_go_modules(place.programs / "go"),
    }


def as_table(facts: Mapping[str, str]) -> str:
    """The facts in Markdown."""
    return "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in facts.items())])


def _cpu_model() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _said(command: Sequence[str], pattern: str) -> str:
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "none"
    found = re.search(pattern, said)
    return found[1].strip() if found else "unknown"


def _node_packages(folder: Path) -> dict[str, str]:
    versions = {}
    for name in NODE_PACKAGES:
        package = folder / name / "package.json"
        if package.is_file():
            found = re.search(r'"version":\s*"([^"]+)"', package.read_text())
            versions[name] = found[1] if found else "unknown"
    return versions


def _go_modules(folder: Path) -> dict[str, str]:
    versions = {}
    for program, kind in GO_MODULES.items():
        said = _said(["go", "version", "-m", str(folder / program)], "(?s)(.*)")
        if found := re.search(rf"{kind}\s+github.com/centrifugal/(centrifug[eo])\S*\s+(\S+)", said):
            versions[found[1]] = found[2]
    return versions
