"""Install what is measured, then measure."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench import golang
from bench.options import ROOT, parse
from environments import TaskError, requirements, run, say
from environments import install as install_packages

SOURCES = Path(__file__).parent
PYTHON_PEERS = {
    *("python-socketio>=5,<6", "channels>=4,<5", "channels_redis>=4,<5", "uvicorn>=0.30,<1"),
    *("websockets>=14,<18", "uvloop>=0.19,<1"),
}
# Without them where they cannot be installed.
COMPILED_PEERS = {"picows>=2.3,<3", "socketify>=0.0.31,<0.1"}
NODE_PEERS = ("ws@8", "ioredis@5", "socket.io@4", "@socket.io/redis-adapter@8")


def main() -> int:
    """Do what the command line says, in an environment that has all that is measured."""
    options = parse()
    try:
        python = install(options.cache)
    except TaskError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    arguments = [str(python), "-m", "bench.run", *sys.argv[1:]]
    os.chdir(ROOT)
    sys.stdout.flush()
    return os.execv(python, arguments)  # noqa: S606 - signals reach it


def install(cache: Path) -> Path:
    """Have everything in the cache; returns its Python."""
    cache.mkdir(parents=True, exist_ok=True)
    compile_programs(cache)
    if shutil.which("npm") and not (cache / "node/node_modules/ws").is_dir():
        say("Installing Node's servers.")
        (cache / "node").mkdir(exist_ok=True)
        quiet = ("--silent", "--no-audit", "--no-fund", "--prefix", cache / "node")
        if subprocess.run(["npm", "install", *quiet, *NODE_PEERS], check=False).returncode:
            say("npm could not: Node's servers are left out.")
    golang.build(cache)
    needed = requirements(ROOT / "pyproject.toml")
    needed |= requirements((ROOT / "{{cookiecutter.project_slug}}") / "pyproject.toml")
    packages = frozenset(needed | PYTHON_PEERS)
    try:
        return install_packages(cache / "venv", more=packages | COMPILED_PEERS)
    except TaskError as error:
        say(f"Without picows and socketify: {error}")
        return install_packages(cache / "venv", more=packages)


def compile_programs(cache: Path) -> None:
    """Compile the load client and the C loop. Raises TaskError without a compiler."""
    if shutil.which("cc") is None:
        raise TaskError("there is no C compiler (cc) on the PATH: install gcc or clang")
    for name in ("load", "cloop"):
        source, program = SOURCES / f"{name}.c", cache / name
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            run(f"{name}.c could not be compiled", "cc", "-O2", "-o", program, source)


if __name__ == "__main__":
    sys.exit(main())
