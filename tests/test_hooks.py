"""Hooks refuse answers that would not work, and select modules without losing anything."""

import importlib.util
import json
import re
import shutil
import sys
import tomllib
import types
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.utils import create_env_with_context

from tests.baking import APP, ROOT, combinations, contents, name_of, run

ANSWERS = {
    "project_name": "My App",
    "project_slug": "my_app",
    "description": "It works",
    "author_name": "Ada",
    "state_backend": "memory",
    "session_backend": "redis",
}
COOKIECUTTER = (sys.executable, "-m", "cookiecutter", "--default-config")
HOSTILE = {
    "project_name": "A \"name\" \\ {{ 7*7 }} </script> \N{ROCKET} \u05e9\u05dc\u05d5\u05dd 'x'",
    "description": '"""three""" \\u0041 \\" ${{ x }} {% if %} #% if',
    "author_name": 'Zo\u00eb "Z" O\'Brien \\n {# no comment',
}
BAD_SLUGS = {
    "keyword": "class",
    "soft keyword": "match",
    "standard library": "json",
    "dependency": "sanic",
    "own package": "gospa",
    "device": "com1",
    "uppercase": "My_app",
    "leading digit": "3d",
    "underscore first": "_app",
    "underscore last": "app_",
    "dash": "my-app",
    "dots": "my.app",
    "space": "my app",
    "quotes": "a\"b'c",
    "triple quotes": 'a"""b',
    "backslash": "a\\b",
    "newline": "a\nb",
    "expression": "{{ 7*7 }}",
    "not ASCII": "caf\u00e9",
    "empty": "",
    "this folder": ".",
    "folder above": "..",
    "two folders": "a/b",
    "long": "a" * 200,
    "longer than a file name": "a" * 300,
}


def load(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"hooks/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rendered(name: str, answers: dict[str, str]) -> str:
    """The source of a hook as cookiecutter runs it."""
    source = (ROOT / f"hooks/{name}.py").read_text(encoding="utf-8")
    options = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    environment = create_env_with_context({"cookiecutter": options})
    return str(environment.from_string(source).render(cookiecutter=answers))


pre: Any = load("pre_gen_project")
post: Any = load("post_gen_project")


@pytest.mark.parametrize("slug", BAD_SLUGS.values(), ids=BAD_SLUGS)
def test_bad_slug_is_refused_with_a_remedy(slug: str, template: Path, tmp_path: Path) -> None:
    done = run((*COOKIECUTTER, "--no-input", str(template), f"project_slug={slug}"), tmp_path)
    assert done.returncode != 0
    assert re.search(r"example project_slug=[a-z_0-9]+", done.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("slug", BAD_SLUGS.values(), ids=BAD_SLUGS)
def test_suggested_slug_is_accepted(slug: str) -> None:
    suggested = pre.suggestion(slug)
    assert pre.slug_problem(suggested) is None
    assert len(suggested) <= 64


def test_suggestion_is_the_refused_slug_in_short() -> None:
    assert pre.suggestion("My App-2") == "my_app_2"
    assert pre.suggestion("A" * 200) == "a" * 50
    assert pre.suggestion("x" * 49 + "--y") == "x" * 49
    assert pre.suggestion("json") == "my_json_app"
    assert pre.suggestion("3") == "my_3_app"
    assert pre.suggestion("") == "my_app"


@pytest.mark.parametrize(
    ("slug", "reason"),
    [
        ("def", "a word of the Python language"),
        ("match", "a word of the Python language"),
        ("asyncio", "a module of Python's standard library"),
        ("sanic", "a package that the application needs"),
        ("rooms", "a module of the application itself"),
        *(
            (f"{port}{n}", "a name that Windows has for a device")
            for port in ("com", "lpt")
            for n in range(1, 10)
        ),
        *((name, "a name that Windows has for a device") for name in ("aux", "con", "nul", "prn")),
    ],
)
def test_slug_that_is_taken_is_refused_with_the_reason(slug: str, reason: str) -> None:
    assert pre.slug_problem(slug) == f"project_slug {slug!r} is {reason}."


@pytest.mark.parametrize("slug", ["com", "com0", "com10", "lpt0", "lpt10"])
def test_slug_that_resembles_a_device_is_accepted(slug: str) -> None:
    assert pre.slug_problem(slug) is None


@pytest.mark.parametrize("slug", ["a", "my_app", "a1", "a__b", "live_board", "a" * 64])
def test_good_slug_is_accepted(slug: str) -> None:
    assert pre.problems({**ANSWERS, "project_slug": slug}) == []


@pytest.mark.parametrize("name", ["project_name", "description", "author_name"])
@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\x00b", "a\x7fb", "a\x85b", "a\ud800b"])
def test_text_that_is_no_line_is_refused(name: str, text: str) -> None:
    problems = pre.problems({**ANSWERS, name: text})
    assert len(problems) == 1
    assert problems[0].startswith(name)
    assert problems[0].isascii()


def test_all_problems_are_named_at_once() -> None:
    bad = {"project_slug": "3", "project_name": "", "description": "\n", "author_name": " "}
    assert len(pre.problems(bad)) == 4


def test_every_dependency_is_a_refused_slug() -> None:
    asked = tomllib.loads((APP / "pyproject.toml").read_text(encoding="utf-8"))
    needed = asked["project"]["dependencies"] + asked["dependency-groups"]["dev"]
    names = {re.split(r"[^a-z-]", line)[0].replace("-", "_") for line in needed}
    assert "pytest_asyncio" in names
    assert names <= pre.DEPENDENCIES


@pytest.mark.parametrize("slug", ["click", "httpcore", "pluggy", "sanic_routing", "tracerite"])
def test_what_a_dependency_needs_is_a_refused_slug(slug: str) -> None:
    (problem,) = pre.problems({**ANSWERS, "project_slug": slug})
    assert "a package that the application needs" in problem


def test_every_module_of_the_application_is_a_refused_slug() -> None:
    folders = {path.name for path in APP.iterdir() if path.is_dir() and path.name.isidentifier()}
    modules = {path.stem for path in APP.glob("*.py")}
    assert (folders | modules) - {"__pycache__"} <= pre.OWN


def hook(name: str, answers: dict[str, str], *, program: bool = False) -> dict[str, Any]:
    """A hook as cookiecutter runs it; short of running it unless it is the program."""
    names: dict[str, Any] = {"__name__": "__main__" if program else name}
    exec(compile(rendered(name, answers), name, "exec"), names)  # noqa: S102 - as cookiecutter does
    return names


@pytest.mark.parametrize("name", ["pre_gen_project", "post_gen_project"])
def test_hooks_read_hostile_answers_unchanged(name: str) -> None:
    answers = {**ANSWERS, **HOSTILE, "project_slug": '\'\'\'"""\\"\n\\N{BULLET}\ud800'}
    running = hook(name, answers)
    seen = []

    def see(found: dict[str, str]) -> list[str]:
        seen.append(found)
        return []

    running["problems"] = see
    running["select"] = lambda _, found: see(found)
    assert running["main"]() == 0
    assert seen == [answers]


def test_hooks_are_programs_that_check_and_select(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(skeleton(tmp_path))
    for name in ("pre_gen_project", "post_gen_project"):
        with pytest.raises(SystemExit, match="0"):
            hook(name, ANSWERS, program=True)
    assert not (tmp_path / "gospa/backends/redis/state.py").exists()
    with pytest.raises(SystemExit, match="1"):
        hook("pre_gen_project", {**ANSWERS, "project_slug": "json"}, program=True)


def test_problems_are_said_one_a_line_and_end_the_generation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    checking = hook("pre_gen_project", ANSWERS)
    checking["problems"] = lambda _: ["the first", "the second"]
    assert checking["main"]() == 1
    assert capsys.readouterr() == ("", "the first\nthe second\n")
    checking["problems"] = lambda _: []
    assert checking["main"]() == 0
    assert capsys.readouterr() == ("", "")


def test_project_that_is_not_as_known_ends_the_generation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def unknown(*_: object) -> None:
        raise selecting["SelectionError"]("the reason")

    selecting = hook("post_gen_project", ANSWERS)
    selecting["select"] = unknown
    assert selecting["main"]() == 1
    assert capsys.readouterr() == ("", "the reason\n")
    selecting["select"] = lambda *_: None
    assert selecting["main"]() == 0
    assert capsys.readouterr() == ("Made my_app. Its README.md says how to run it.\n", "")


def test_hostile_names_typed_at_the_prompts_make_a_valid_project(
    template: Path, tmp_path: Path
) -> None:
    typed = [HOSTILE["project_name"], "hostile", HOSTILE["description"], HOSTILE["author_name"]]
    done = run(
        (*COOKIECUTTER, str(template)),
        tmp_path,
        input="\n".join([*typed, "2", "2", "1", ""]),
    )
    assert done.returncode == 0, done.stderr
    files = {name: content.decode() for name, content in contents(tmp_path / "hostile").items()}
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["description"] == HOSTILE["description"]
    assert project["authors"] == [{"name": HOSTILE["author_name"]}]
    assert f"Copyright (c) {HOSTILE['author_name']}\n" in files["LICENSE"]
    title = HOSTILE["project_name"].replace("<", "&lt;")
    assert files["README.md"].startswith(f"# {title}\n")


# Selecting modules


def skeleton(root: Path) -> Path:
    """What the second hook works on, and nothing else."""
    for folder in (*post.FOLDERS, *post.SHARED_STATE, *post.REDIS, *post.BOTH_BACKENDS):
        copy = shutil.copytree if (APP / folder).is_dir() else shutil.copy
        (root / folder).parent.mkdir(parents=True, exist_ok=True)
        copy(APP / folder, root / folder)
    shutil.copy(APP / "app.py", root)
    return root


@pytest.mark.parametrize("answers", combinations("state_backend", "session_backend"), ids=name_of)
def test_each_role_has_its_backend_and_no_other(answers: dict[str, str], tmp_path: Path) -> None:
    project = skeleton(tmp_path)
    post.select(project, answers)
    for role, answer in post.ROLES.items():
        for folder in post.FOLDERS:
            kept = {path.parent.name for path in (project / folder).glob(f"*/*{role}.py")}
            assert kept == {answers[answer]}


def test_plan_has_only_paths_of_the_tree() -> None:
    of_tree = (*post.FOLDERS, *post.SHARED_STATE, *post.REDIS, *post.BOTH_BACKENDS)
    assert [name for name in of_tree if not (APP / name).exists()] == []
    of_backends = [name for names in post.FILES.values() for name in names]
    for name in of_backends:
        assert [f for f in post.FOLDERS for b in post.BACKENDS if (APP / f / b / name).is_file()]


def test_second_run_changes_nothing(tmp_path: Path) -> None:
    project = skeleton(tmp_path)
    post.select(project, ANSWERS)
    once = contents(project)
    post.select(project, ANSWERS)
    assert contents(project) == once


@pytest.mark.parametrize("role", post.ROLES)
def test_missing_role_is_an_error_and_nothing_is_changed(role: str, tmp_path: Path) -> None:
    project = skeleton(tmp_path)
    module = f"gospa/backends/{ANSWERS[post.ROLES[role]]}/{role}.py"
    (project / module).unlink()
    before = contents(project)
    with pytest.raises(post.SelectionError, match=re.escape(module)):
        post.select(project, ANSWERS)
    assert contents(project) == before


@pytest.mark.parametrize("role", post.ROLES)
@pytest.mark.parametrize("times", [0, 2])
def test_import_line_has_to_be_there_once(role: str, times: int, tmp_path: Path) -> None:
    app = skeleton(tmp_path) / "app.py"
    (line,) = [
        f"{text}\n" for text in app.read_text().splitlines() if f"redis.{role} import" in text
    ]
    app.write_text(app.read_text().replace(line, line * times))
    before = contents(tmp_path)
    with pytest.raises(post.SelectionError, match="needs one line"):
        post.select(tmp_path, ANSWERS)
    assert contents(tmp_path) == before


def test_the_application_is_named_after_the_slug(tmp_path: Path) -> None:
    app = skeleton(tmp_path) / "app.py"
    for slug in ("my_app", "my_app", "a" * 64):  # also again
        post.select(tmp_path, {**ANSWERS, "project_slug": slug})
        assert f'\nNAME = "{slug}"\n' in app.read_text()


def test_without_a_line_for_the_name_nothing_is_changed(tmp_path: Path) -> None:
    app = skeleton(tmp_path) / "app.py"
    app.write_text(app.read_text().replace("NAME = ", "OTHER = "))
    before = contents(tmp_path)
    with pytest.raises(post.SelectionError, match="NAME"):
        post.select(tmp_path, ANSWERS)
    assert contents(tmp_path) == before


def test_a_clone_with_other_line_ends_keeps_them(tmp_path: Path) -> None:
    """As git makes it with core.autocrlf."""
    app = skeleton(tmp_path) / "app.py"
    post.select(tmp_path, ANSWERS)
    expected = app.read_bytes().replace(b"\n", b"\r\n")
    app.write_bytes((APP / "app.py").read_bytes().replace(b"\n", b"\r\n"))
    post.select(tmp_path, ANSWERS)
    assert app.read_bytes() == expected


def test_of_a_linked_folder_the_link_goes(tmp_path: Path) -> None:
    project = skeleton(tmp_path / "project")
    (tmp_path / "caches/3").mkdir(parents=True)
    (project / ".mypy_cache").symlink_to(tmp_path / "caches")
    post.select(project, ANSWERS)
    assert not (project / ".mypy_cache").is_symlink()
    assert (tmp_path / "caches/3").is_dir()


def test_traces_of_tools_go_and_a_users_environment_stays(tmp_path: Path) -> None:
    project = skeleton(tmp_path)
    traces = ["__pycache__/a.pyc", "gospa/store/__pycache__/b.pyc", ".mypy_cache/3/c.json"]
    kept = [".venv/lib/__pycache__/d.pyc", ".devstore/e"]
    for name in (*traces, *kept):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("")
    post.select(project, ANSWERS)
    assert [name for name in (*traces, *kept) if (project / name).exists()] == kept


def test_template_without_a_module_leaves_nothing_behind(template: Path, tmp_path: Path) -> None:
    incomplete = shutil.copytree(
        template, tmp_path / "incomplete", ignore=shutil.ignore_patterns("memory")
    )
    output = tmp_path / "output"
    output.mkdir()
    done = run((*COOKIECUTTER, "--no-input", str(incomplete)), output)
    assert done.returncode != 0
    assert "the template has no gospa/backends/memory/pubsub.py" in done.stderr
    assert list(output.iterdir()) == []
