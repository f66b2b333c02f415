"""Check the scripts in client/ with TypeScript and a linter, if Node.js is installed.

    python -I gospa/dev/javascript.py

npx downloads the tools once, in these versions, and keeps them in npm's cache. What cannot be had
is left out. The program says so and does not fail: other checks need neither Node.js nor a network.
"""

import shutil
import subprocess
import sys

# TypeScript finds names, arguments and fields that do not exist. Editors read jsconfig.json, which
# is strict: that finds more, but asks for annotations.
TOOLS = (
    ("typescript@5.9.3", "tsc", "--project", "jsconfig.json", "--strict", "false"),
    ("oxlint@1.94.0", "oxlint", "--deny-warnings", "client", "gospa/client"),
)
PATIENCE = 120.0  # seconds that a download may take


def main() -> int:
    """Run both tools; returns the exit code."""
    npx = shutil.which("npx")
    if npx is None:
        print("Left out: scripts are checked with Node.js, and there is no npx.")
        return 0
    return max([_check(npx, *tool) for tool in TOOLS])


def _check(npx: str, package: str, program: str, *arguments: str) -> int:
    """Run a program of a package; returns its exit code, 0 if it cannot be downloaded."""
    run = ("--prefer-offline", "--fetch-retries=0", f"--package={package}", "--", program)
    if _problem(npx, "--no", *run, "--version"):
        print(f"Downloading {package} from npm, once.", flush=True)
        if problem := _problem(npx, "--yes", *run, "--version"):
            print(f"Left out: {package} cannot be had from npm: {problem}")
            return 0
    command = (npx, "--no", *run, *arguments)
    return subprocess.run(command, check=False).returncode  # noqa: S603 - its own arguments


def _problem(*command: str) -> str:
    """The error of a command that fails, in one line; '' if it succeeds."""
    try:
        done = subprocess.run(  # noqa: S603 - as above
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {PATIENCE:.0f} s"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return (lines or [f"exit code {done.returncode}"])[0] if done.returncode else ""


if __name__ == "__main__":
    sys.exit(main())
