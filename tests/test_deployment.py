"""What is shipped for containers and systemd is read, and held to rules; nothing here runs it."""

import configparser
import json
import re
from typing import Any

import pytest
import yaml

from tests.baking import Baked
from tests.images import in_image

GRACE = 15  # seconds that Sanic gives to what is under way when it stops


@pytest.fixture
def dockerfile(baked: Baked) -> list[tuple[str, str]]:
    """Instructions and their arguments."""
    text = (baked.path / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


@pytest.fixture
def services(baked: Baked) -> dict[str, dict[str, Any]]:
    compose = yaml.safe_load((baked.path / "compose.yaml").read_text(encoding="utf-8"))
    named: dict[str, dict[str, Any]] = compose["services"]
    return named


def test_the_image_is_small_and_runs_as_nobody(dockerfile: list[tuple[str, str]]) -> None:
    bases = [rest for name, rest in dockerfile if name == "FROM"]
    assert len(bases) == 2
    assert all(re.match(r"python:3\.\d+-slim\b", base) for base in bases)
    assert [rest for name, rest in dockerfile if name == "USER"] == ["65534:65534"]
    assert "RUN" not in [name for name, _ in dockerfile[dockerfile.index(("FROM", bases[1])) :]]


def test_the_image_has_what_it_starts(dockerfile: list[tuple[str, str]], baked: Baked) -> None:
    copies = [rest.split()[:-1] for name, rest in dockerfile if name == "COPY"]
    sources = {path for paths in copies for path in paths if not path.startswith(("--", "/"))}
    assert all((baked.path / source).exists() for source in sources)
    files = in_image(baked.path)
    packages = {str(path.relative_to(baked.path)) for path in baked.path.glob("*/__init__.py")}
    assert {"app.py", "client/index.html", *packages} <= files
    assert all(source == "." or source in files for source in sources)
    (command,) = [json.loads(rest) for name, rest in dockerfile if name == "CMD"]
    workers = 1 if "memory" in baked.backends.values() else 4
    assert command[:2] == ["sanic", "app"]
    assert f"--workers={workers}" in command
    (health,) = [rest for name, rest in dockerfile if name == "HEALTHCHECK"]
    assert "/health/live" in json.loads(health[health.index("[") :])[-1]


def test_services_name_what_there_is(services: dict[str, dict[str, Any]], baked: Baked) -> None:
    uses_redis = "redis" in baked.backends.values()
    assert set(services) == {"app", "proxy", *(["store"] if uses_redis else [])}
    assert ("REDIS_URL" in services["app"]["environment"]) is uses_redis
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        assert "build" in service or re.search(r":[\d.]+-alpine$", service["image"])
    settings = (baked.path / "docs/settings.md").read_text(encoding="utf-8")
    for variable in services["app"]["environment"]:
        assert variable.startswith("SANIC_") or f"`{variable}`" in settings
    (conf,) = [v for v in services["proxy"]["volumes"] if "nginx.conf" in v]
    assert (baked.path / conf.partition(":")[0]).is_file()


def test_containers_may_do_little(services: dict[str, dict[str, Any]]) -> None:
    for name in ("app", "proxy"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
    assert int(services["app"]["stop_grace_period"].rstrip("s")) > GRACE


def test_the_unit_gives_time_to_take_leave(baked: Baked) -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(baked.path / "deploy/app.service", encoding="utf-8")
    service = unit["Service"]
    assert int(service["TimeoutStopSec"]) > GRACE
    assert "/sanic app " in service["ExecStart"]
    assert service["Restart"] == "always"
