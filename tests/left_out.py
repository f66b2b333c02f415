"""A plugin of pytest: the last line names what was not tested, and how to have it tested."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

import tasks


def pytest_unconfigure(config: pytest.Config) -> None:
    """Say what was skipped, after the summary; nothing if all was run."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and (told := left_out(reporter.stats.get("skipped", ()))):
        print(told)


def left_out(reports: Iterable[Any]) -> str:
    """The reasons for which tests were skipped, each with their number."""
    reasons = Counter(reason(report) for report in reports)
    told = [f"{count} ({why})" for why, count in sorted(reasons.items())]
    return f"Not tested: {'; '.join(told)}." if told else ""


def reason(report: Any) -> str:
    """Why a test was skipped, and for a program what brings it."""
    text = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    why = text.removeprefix("Skipped: ").partition("\n")[0]
    packages = {"Chromium": "chromium", "npm": "npm", "nginx": "nginx"}
    for name, package in packages.items():
        if f"there is no {name}" in why:
            return f"there is no {name}: {' or '.join(tasks.installers(package))}"
    return why
