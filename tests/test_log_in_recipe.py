"""The log-ins of docs/log-in.md work, and refuse what they should."""

import shutil
from pathlib import Path

import pytest

from tests.baking import DEFAULT, ROOT, Matrix, assert_succeeds, name_of
from tests.snippets import snippets

pytest.importorskip("argon2", reason="there is no argon2-cffi")
pytest.importorskip("authlib", reason="there is no Authlib")


@pytest.mark.parametrize("backend", ["memory", "redis"])
def test_the_log_ins_of_the_documentation_hold(
    backend: str, matrix: Matrix, tmp_path: Path
) -> None:
    """On each backend that sessions can be in."""
    made = matrix[name_of({**DEFAULT, "session_backend": backend})].path
    project = shutil.copytree(made, tmp_path / made.name)
    page = (project / "docs/log-in.md").read_text(encoding="utf-8")
    written = [snippet for snippet in snippets(page) if snippet.language == "python"]
    assert [snippet.file for snippet in written] == ["views/passwords.py", "views/sso.py"]
    for snippet in written:
        (project / snippet.file).write_text(snippet.text, encoding="utf-8")
    shutil.copy(ROOT / "tests/log_in_recipe.py", project / "tests/test_log_in.py")
    assert_succeeds(("ruff", "format", "--no-cache", "--check", "views"), project)
    assert_succeeds(("ruff", "check", "--no-cache", "views"), project)
    command = ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_log_in.py")
    assert_succeeds(command, project)
