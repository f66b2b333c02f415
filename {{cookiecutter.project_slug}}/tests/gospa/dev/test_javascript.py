"""Scripts are checked by tools from npm, and what cannot be had is left out and said."""

from pathlib import Path

import pytest

from gospa.dev import javascript

# Plays npx. `has` lists the packages in its cache, `broken` what cannot be downloaded.
NPX = """#!/bin/sh
folder=$(dirname "$0")
case "$*" in *typescript*) package=typescript ;; *) package=oxlint ;; esac
case "$*" in --yes*) grep -q $package "$folder/broken" || echo $package >> "$folder/has" ;; esac
if ! grep -q $package "$folder/has"; then
  echo "npm error code ENOTFOUND" >&2
  echo "npm error network" >&2
  exit 1
fi
case "$*" in *--version) exit 0 ;; esac
echo "$*" >> "$folder/ran"
! grep -q $package "$folder/finds"
"""


@pytest.fixture
def npx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an npx that has both tools, which find nothing."""
    (tmp_path / "npx").write_text(NPX)
    (tmp_path / "npx").chmod(0o755)
    (tmp_path / "has").write_text("typescript\noxlint\n")
    for name in ("broken", "finds", "ran"):
        (tmp_path / name).touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


@pytest.mark.parametrize(("finds", "code"), [("", 0), ("typescript", 1), ("oxlint", 1)])
def test_both_tools_run_and_one_that_finds_something_fails(
    npx: Path, finds: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (npx / "finds").write_text(finds or "nothing")
    assert javascript.main() == code
    ran = (npx / "ran").read_text().splitlines()
    assert [line.split(" -- ")[1].split()[0] for line in ran] == ["tsc", "oxlint"]
    assert all("@" in line for line in ran), "a version is not pinned"
    assert capsys.readouterr().out == ""


def test_a_download_is_announced(npx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (npx / "has").write_text("oxlint\n")
    (npx / "finds").write_text("typescript")
    assert javascript.main() == 1
    said = capsys.readouterr().out
    assert said.startswith("Downloading typescript@")
    assert "Left out" not in said


def test_what_cannot_be_had_is_left_out_and_said(
    npx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (npx / "has").write_text("oxlint\n")
    (npx / "broken").write_text("typescript\n")
    assert javascript.main() == 0
    left_out = capsys.readouterr().out.splitlines()[-1]
    assert left_out.startswith("Left out: typescript@")
    assert left_out.endswith("cannot be had from npm: npm error code ENOTFOUND")
    assert "oxlint" in (npx / "ran").read_text()


def test_without_node_everything_is_left_out_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert javascript.main() == 0
    assert "there is no npx" in capsys.readouterr().out
