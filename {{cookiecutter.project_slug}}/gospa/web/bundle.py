"""The browser client as one module, so that a page gets it in one request.

It supports only the forms that the engine's own modules use: `import { a } from './b.js'`, `export`
before a declaration, and `export { a } from './b.js'` in the entry. Each module becomes a function
that returns what it exports. Comments are left out.
"""

import re
from collections.abc import Iterator
from pathlib import Path

ENTRY = "gospa.js"

_COMMENT = re.compile(r"/\*\*.*?\*/[ \n]?|^ *//[^\n]*\n", re.DOTALL | re.MULTILINE)
_IMPORT = re.compile(r"^import \{(.*?)\} from '\./(\w+)\.js';\n", re.DOTALL | re.MULTILINE)
_REEXPORT = re.compile(r"^export \{(.*?)\} from '\./(\w+)\.js';\n", re.DOTALL | re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:class|const|function) (\w+))", re.MULTILINE)


def bundle(folder: Path) -> str:
    """The source of one module that exports what ENTRY exports."""
    entry = (folder / ENTRY).read_text(encoding="utf-8")
    seen: set[str] = set()
    parts: list[str] = []
    names = []
    for exported, source in _REEXPORT.findall(entry):
        parts += _functions(folder, source, seen)
        parts.append(f"const {{{exported}}} = ${source};\n")
        names.append(exported.strip())
    return "".join([*parts, f"export {{ {', '.join(names)} }};\n"])


def _functions(folder: Path, name: str, seen: set[str]) -> Iterator[str]:
    """A module as a function, after the modules that it imports."""
    if name in seen:
        return
    seen.add(name)
    text = (folder / f"{name}.js").read_text(encoding="utf-8")
    text = re.sub(r"\n\n+", "\n", _COMMENT.sub("", text))
    for _, imported in _IMPORT.findall(text):
        yield from _functions(folder, imported, seen)
    exported = ", ".join(each for _, each in _EXPORT.findall(text))
    body = _EXPORT.sub(r"\1", _IMPORT.sub(r"const {\1} = $\2;\n", text))
    yield f"const ${name} = (() => {{\n{body}return {{ {exported} }};\n}})();\n"
