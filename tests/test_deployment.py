"""What is shipped for containers and systemd is read, and held to rules; nothing here runs it."""

import configparser
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.baking import Baked, run
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
    assert f" --workers={workers} " in (baked.path / "deploy/app.service").read_text()
    (health,) = [rest for name, rest in dockerfile if name == "HEALTHCHECK"]
    assert "/health/live" in json.loads(health[health.index("[") :])[-1]


def test_health_and_metrics_are_apart_from_what_visitors_reach(
    dockerfile: list[tuple[str, str]], services: dict[str, dict[str, Any]], baked: Baked
) -> None:
    told = " ".join(rest for name, rest in dockerfile if name in ("ENV", "HEALTHCHECK", "EXPOSE"))
    assert "GOSPA_HEALTH_ADDRESS=0.0.0.0:9000" in told
    assert "http://127.0.0.1:9000/health/live" in told
    assert "8000 9000" in told
    assert "ports" not in services["app"]
    unit = (baked.path / "deploy/app.service").read_text(encoding="utf-8")
    assert "GOSPA_HEALTH_ADDRESS=127.0.0.1:9000" in unit


def test_a_store_that_is_full_refuses_what_is_new_and_evicts_nothing(
    services: dict[str, dict[str, Any]],
) -> None:
    if "store" in services:
        command = services["store"]["command"]
        options = dict(zip(command[1::2], command[2::2], strict=True))
        assert options["--maxmemory-policy"] == "noeviction"
        assert re.fullmatch(r"\d+(mb|gb)", options["--maxmemory"])


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


def test_the_unit_bounds_what_a_broken_application_could_do(baked: Baked) -> None:
    lines = (baked.path / "deploy/app.service").read_text(encoding="utf-8").splitlines()
    for bound in (
        *("CapabilityBoundingSet=", "NoNewPrivileges=yes", "ProtectSystem=strict", "UMask=0077"),
        *("SystemCallFilter=@system-service", "SystemCallArchitectures=native", "DynamicUser=yes"),
    ):
        assert bound in lines
    assert any(line.startswith("MemoryMax=") for line in lines)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd")
def test_systemd_understands_the_unit_and_finds_it_safe(baked: Baked, tmp_path: Path) -> None:
    unit = (baked.path / "deploy/app.service").read_text(encoding="utf-8")
    program = re.compile("^ExecStart=.*$", re.MULTILINE)
    (tmp_path / "app.service").write_text(program.sub("ExecStart=/bin/true", unit))
    command = ("systemd-analyze", "security", "--offline=true", "--threshold=25", "app.service")
    done = run(command, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("target", ["run", "dev"])
def test_make_serves_this_machine_alone_unless_told_otherwise(baked: Baked, target: str) -> None:
    def recipe(*arguments: str) -> str:
        return run(("make", "--dry-run", target, *arguments), baked.path).stdout.splitlines()[-1]

    own = recipe()
    assert "--host 127.0.0.1 " in own
    assert "gospa/dotenv.py 'GOSPA_ALLOWED_HOSTS=localhost,127.0.0.1,[::1]' " in own
    everywhere = recipe("HOST=0.0.0.0")
    assert "--host 0.0.0.0 " in everywhere
    assert "GOSPA_ALLOWED_HOSTS" not in everywhere


def test_nothing_that_is_shipped_is_a_demonstration(baked: Baked) -> None:
    for name in ("Dockerfile", "compose.yaml", "deploy/app.service", ".env.example", "app.py"):
        assert "GOSPA_DEMO" not in (baked.path / name).read_text(encoding="utf-8")
    for target in ("run", "dev"):
        done = run(("make", "--dry-run", target), baked.path)
        assert " GOSPA_DEMO=true .venv/bin/sanic app " in done.stdout.splitlines()[-1]


def test_keys_of_the_certificate_are_in_neither_git_nor_image(baked: Baked) -> None:
    assert "deploy/tls/" in (baked.path / ".gitignore").read_text(encoding="utf-8").splitlines()
    for name in ("server.key", "server.pem"):
        (baked.path / "deploy/tls").mkdir(exist_ok=True)
        (baked.path / "deploy/tls" / name).touch()
    try:
        assert not [name for name in in_image(baked.path) if "tls" in name]
    finally:
        shutil.rmtree(baked.path / "deploy/tls")
