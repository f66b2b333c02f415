"""Every combination of choices makes the project that was reviewed; nothing is left to chance."""

import re
from pathlib import Path, PurePath

import pytest
from jinja2 import UndefinedError

from tests import conditions, snapshots
from tests.baking import (
    CHOICES,
    DEFAULT,
    OPTIONS,
    ROOT,
    Matrix,
    bake,
    combinations,
    contents,
    name_of,
)

BACKENDS = ("state_backend", "session_backend")
# Each combination of backends, and each license: what is reviewed. The others combine these.
REVIEWED = [
    {**DEFAULT, **chosen}
    for chosen in (*combinations(*BACKENDS), *combinations("license"))
    if {**DEFAULT, **chosen} != DEFAULT
]
RANDOM = re.compile(r"random_|uuid|\bnow\b|cookiecutter\._|_output_dir|_repo_dir")
SECRET = re.compile(  # not the hash of an action's commit (after @), or of a locked package
    r"-----BEGIN|\bAKIA[0-9A-Z]{12}|\b(?:gh[pousr]|xox[abp]|sk|pk)[_-][A-Za-z0-9_-]{16}"
    r"|(?i:password|passwd|secret(?:_key)?|token|api_?key)\s*[=:]\s*[\"']?[\w/+-]{8}"
    r"|(?<!@)(?<!sha256:)\b(?=[A-Za-z+/]*\d)[A-Za-z0-9+/]{32,}={0,2}(?![\w/.-])"
)
REMEDY = "is not as reviewed. If that is wanted: python3 tasks.py snapshots, and review the diff"


def files_of(matrix: Matrix, answers: dict[str, str]) -> dict[str, bytes]:
    return contents(matrix[name_of(answers)].path)


def compare(text: str, name: str, request: pytest.FixtureRequest) -> None:
    path = snapshots.FOLDER / f"{name}.txt"
    if request.config.getoption("--write-snapshots"):
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path.name} {REMEDY}"
    assert text == path.read_text(encoding="utf-8"), f"{path.name} {REMEDY}"


def short_name(answers: dict[str, str]) -> str:
    """The choices that are not the default."""
    other = {name: value for name, value in answers.items() if value != DEFAULT[name]}
    return "+".join(f"{name.removesuffix('_backend')}-{value}" for name, value in other.items())


def test_default_has_the_reviewed_files(matrix: Matrix, request: pytest.FixtureRequest) -> None:
    compare(snapshots.names(files_of(matrix, DEFAULT)), "default", request)


@pytest.mark.parametrize("answers", REVIEWED, ids=short_name)
def test_choice_differs_from_the_default_as_reviewed(
    answers: dict[str, str], matrix: Matrix, request: pytest.FixtureRequest
) -> None:
    found = snapshots.difference(files_of(matrix, DEFAULT), files_of(matrix, answers))
    compare(found, short_name(answers), request)


def test_no_snapshot_is_left_over() -> None:
    names = {path.stem for path in snapshots.FOLDER.iterdir()}
    assert names == {"default", *map(short_name, REVIEWED)}


@pytest.mark.parametrize("answers", combinations(), ids=name_of)
def test_license_and_backends_do_not_meddle(answers: dict[str, str], matrix: Matrix) -> None:
    default = files_of(matrix, DEFAULT)
    of_backends = files_of(matrix, {**answers, "license": DEFAULT["license"]})
    of_license = files_of(matrix, {**DEFAULT, "license": answers["license"]})
    files = files_of(matrix, answers)
    assert files["LICENSE"] == of_license["LICENSE"]
    assert snapshots.changed_lines(default, files) == sorted(
        snapshots.changed_lines(default, of_backends) + snapshots.changed_lines(default, of_license)
    )


# Conditions


@pytest.fixture(scope="module")
def _everything_was_rendered(
    template: Path, matrix: Matrix, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """All projects, and what they lack: the answer that cookiecutter.json itself refuses."""
    assert all(matrix.values())
    output = tmp_path_factory.mktemp("refused")
    with conditions.watched(), pytest.raises(UndefinedError, match="project_slug"):
        bake(template, output, {"project_slug": "a/folder"})


@pytest.mark.usefixtures("_everything_was_rendered")
def test_every_condition_was_true_and_false() -> None:
    assert conditions.one_sided() == []


@pytest.mark.usefixtures("_everything_was_rendered")
def test_every_shared_text_was_used() -> None:
    texts = {path.relative_to(ROOT / "templates") for path in (ROOT / "templates").rglob("*.txt")}
    assert texts
    assert set(map(str, texts)) <= conditions.templates()


def test_condition_that_goes_one_way_is_noticed(tmp_path: Path) -> None:
    tree = tmp_path / "template/{{cookiecutter.project_slug}}"
    tree.mkdir(parents=True)
    (tmp_path / "template/cookiecutter.json").write_text(
        '{"project_slug": "s", "state_backend": "memory", "license": "MIT"}'
    )
    (tree / "one_sided.txt").write_text(
        "{% if cookiecutter.license == 'MIT' %}\n"
        "{{ 'a' if cookiecutter.license == 'MIT' else 'b' }}\n"
        "{% elif cookiecutter.license == 'GPL' %}\n"
        "{% endif %}\n"
        "{% if cookiecutter.state_backend == 'redis' %}\n{% endif %}\n"
    )
    with conditions.watched():
        bake(tmp_path / "template", tmp_path / "1")
        bake(tmp_path / "template", tmp_path / "2", {"license": "Proprietary"})
    assert conditions.one_sided("one_sided") == [
        "one_sided.txt, line 2: never False",
        "one_sided.txt, line 3: never True",
        "one_sided.txt, line 5: never True",
    ]
    with conditions.watched():
        bake(tmp_path / "template", tmp_path / "3", {"license": "GPL", "state_backend": "redis"})
    assert conditions.one_sided("one_sided") == ["one_sided.txt, line 2: never False"]
    conditions.forget("one_sided")


# Nothing but the answers decides


@pytest.mark.parametrize("name", ["state_backends", "licence", "_template", "use_docker"])
def test_option_that_does_not_exist_is_an_error(name: str, template: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=name):
        bake(template, tmp_path, {name: "redis"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", CHOICES)
def test_choice_that_does_not_exist_is_an_error(name: str, template: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="disk"):
        bake(template, tmp_path, {name: "disk"})
    assert list(tmp_path.iterdir()) == []


def test_every_question_and_choice_says_what_it_means() -> None:
    asked = {name for name in OPTIONS if not name.startswith("_")}
    prompts = OPTIONS["__prompts__"]
    assert prompts.keys() == asked
    for name, values in CHOICES.items():
        assert list(prompts[name]) == ["__prompt__", *values]


def test_rendered_files_ask_for_nothing_but_answers(template: Path) -> None:
    tree = template / "{{cookiecutter.project_slug}}"
    rendered = [path for path in tree.rglob("*") if path.is_file() and is_template(path)]
    assert rendered
    for path in (*rendered, *(template / "templates").rglob("*.txt")):
        for expression in re.findall(r"\{\{(.*?)\}\}", path.read_text(encoding="utf-8")):
            assert not RANDOM.search(expression), path


def is_template(path: Path) -> bool:
    return snapshots.is_rendered(path.name) and path.name != "app.py"


def test_no_secret_is_rendered(matrix: Matrix) -> None:
    for name, baked in matrix.items():
        for file, content in contents(baked.path).items():
            if snapshots.is_rendered(file):
                found = SECRET.search(content.decode())
                assert not found, f"{name}, {file}: {found}"


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE KEY-----",
        "AKIA" + "ABCDEFGHIJKL1234",
        "SECRET_KEY = 'x8Jq0Zr5Lm2N'",
        "password: hunter2hunter2",
        "3f9a" * 8,
    ],
)
def test_secret_would_be_seen(text: str) -> None:
    assert SECRET.search(text)


# Names that every file system takes


def test_file_names_suit_windows(matrix: Matrix) -> None:
    for baked in matrix.values():
        names = list(contents(baked.path))
        assert len({name.casefold() for name in names}) == len(names)
        assert [name for name in names if not suits_windows(name)] == []


def suits_windows(name: str) -> bool:
    """https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file."""
    reserved = {
        "con",
        "prn",
        "aux",
        "nul",
        *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)),
    }
    parts = PurePath(name).parts
    return (
        name.isascii()
        and len(name) < 150
        and not any(re.search(r'[<>:"\\|?*\x00-\x1f]', part) for part in parts)
        and not any(part.endswith((".", " ")) for part in parts)
        and not any(part.partition(".")[0].lower() in reserved for part in parts)
    )


@pytest.mark.parametrize("name", ["nul", "a/AUX.py", "a:b", "a?", "a.", "a /b", "caf\u00e9"])
def test_name_that_does_not_suit_windows_would_be_seen(name: str) -> None:
    assert not suits_windows(name)
