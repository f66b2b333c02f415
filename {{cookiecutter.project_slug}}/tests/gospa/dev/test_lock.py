"""What the lock lacks is said, with what helps."""

from pathlib import Path

import pytest

from gospa.dev import lock

PROJECT = """
[project]
dependencies = ["sanic>=25", "redis[hiredis]>=8 ; sys_platform == 'nowhere'"]
[dependency-groups]
dev = ["pytest-timeout>=2"]
"""
HASH = f"    --hash=sha256:{'0' * 64}\n"
IMAGE = f"# A comment.\nsanic==25.12.1 \\\n{HASH}"
TOOLS = f"pytest-timeout==2.4 ; python_version > '3' \\\n{HASH[:-1]} \\\n{HASH}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "requirements.txt").write_text(IMAGE)
    (tmp_path / "requirements-dev.txt").write_text(IMAGE + TOOLS)
    return tmp_path


def test_a_lock_that_has_everything_passes(project: Path) -> None:
    assert list(lock.problems(project)) == []


@pytest.mark.parametrize(
    ("name", "before", "after", "problem"),
    [
        ("pyproject.toml", "[dep", "x = 1\n[dep", None),
        ("pyproject.toml", '["sanic>=25"', '["sanic>=26"', "sanic 25.12.1 is not >=26"),
        ("pyproject.toml", '["sanic>=25"', '["sanic", "a<2"', "requirements.txt: a<2 is missing"),
        ("pyproject.toml", "timeout>=2", "timeout>=2.5", "pytest-timeout 2.4 is not >=2.5"),
        ("pyproject.toml", "timeout", "Timeout", None),
        ("requirements.txt", "12.1", "12.2", "sanic is another version than in"),
        ("requirements.txt", f" \\\n{HASH}", "\n", "requirements.txt: sanic has no hash"),
        (
            "requirements-dev.txt",
            f"{HASH[:-1]} \\\n{HASH}",
            HASH[:-9],
            "pytest-timeout has no hash",
        ),
    ],
)
def test_what_does_not_fit_is_said(
    project: Path, name: str, before: str, after: str, problem: str | None
) -> None:
    text = (project / name).read_text()
    assert before in text
    (project / name).write_text(text.replace(before, after))
    found = "\n".join(lock.problems(project))
    assert (problem in found) if problem else not found


def test_the_program_names_the_remedy(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    assert lock.main() == 0
    assert capsys.readouterr().err == ""
    (project / "requirements.txt").write_text("")
    assert lock.main() == 1
    assert "requirements.txt: sanic>=25 is missing\nRun `make lock`" in capsys.readouterr().err
