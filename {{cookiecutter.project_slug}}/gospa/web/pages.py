"""Adds to a page's HTML what it needs to load in parallel, with files of one release.

- References to files under /client/ and /gospa/ get the hash of the file, `?v=...`.
- An import map does the same for the modules that they import.
- All modules are preloaded, instead of one level of imports after the other.
- A small inline script shows an error if a module does not load: `client/guard.js`.
- In debug mode, another script shows edits: `client/reload.js`.
"""

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from pathlib import Path
from urllib.parse import urljoin

from gospa.web.files import File
from gospa.web.prefix import add_to_links

GUARD = Path(__file__).parents[1] / "client/guard.js"
RELOAD = "/gospa/reload.js"

_REFERENCE = re.compile(r"""(\s(?:src|href)\s*=\s*["'])(/(?:client|gospa)/[^"'?#]+)(?=["'])""")
_SCRIPT = re.compile(r"""<script\b[^>]*>""")
_SOURCE = re.compile(r"""\ssrc\s*=\s*["']([^"'?]+)""")
_FIRST = re.compile(r"<(?:link|script)\b|</head>")
# Also in minified code. A false match does not name a file, so it has no effect.
_STATIC = re.compile(r"""\b(?:import|export)\b(?:[^'"`;()]*?\bfrom)?\s*["']([^"']+)""")
_DYNAMIC = re.compile(r"""\bimport\s*\(\s*["']([^"']+)""")


class Pages:
    """Renders pages that load these files."""

    def __init__(
        self, files: Mapping[str, File], release: str, prefix: str = "", *, follow: bool = False
    ) -> None:
        """`prefix`: GOSPA_PATH_PREFIX. With `follow`, pages show edits."""
        self._files = files
        self._follow = follow
        self._prefix = prefix
        self._release = release
        self._guard = _without_comments(GUARD.read_text(encoding="utf-8"))

    def render(self, text: str) -> tuple[str, str]:
        """The HTML, and the script sources that its Content-Security-Policy has to allow."""
        modules = [
            source.group(1)
            for tag in _SCRIPT.findall(text)
            if re.search(r"""\stype\s*=\s*["']?module""", tag) and (source := _SOURCE.search(tag))
        ]
        hashed = _REFERENCE.sub(lambda found: found[1] + self._hashed(found[2]), text)
        rendered = add_to_links(self._prefix, hashed)
        place = _FIRST.search(rendered)
        if place is None or not any(each in self._files for each in modules):
            return rendered, ""
        loaded, imported = self._imports(modules)
        names = {
            spelled: self.url(each)
            for each in sorted(imported.difference(modules))
            for spelled in (each, self._prefix + each)  # absolute, and by a relative import
        }
        importmap = json.dumps({"imports": names}).replace("<", "\\u003c")
        lines = [
            f'<meta name="gospa-release" content="{escape(self._release)}">',
            f"<script>{self._guard}</script>",
            f'<script type="importmap">{importmap}</script>',
            *(f'<link rel="modulepreload" href="{escape(self.url(each))}">' for each in loaded),
        ]
        if self._follow:
            lines.append(f'<script type="module" src="{escape(self.url(RELOAD))}"></script>')
        head = "".join(f"{line}\n  " for line in lines)
        allowed = " ".join(_source_of(each) for each in (self._guard, importmap))
        return rendered[: place.start()] + head + rendered[place.start() :], allowed

    def url(self, path: str) -> str:
        """The URL of a file, with its hash if there is such a file."""
        return self._prefix + self._hashed(path)

    def _hashed(self, path: str) -> str:
        file = self._files.get(path)
        if file is None or file.kind.startswith("text/html"):
            return path
        return f"{path}?v={file.digest}"

    def _imports(self, modules: list[str]) -> tuple[list[str], set[str]]:
        """The modules that load with these, in order, and those that may load later."""
        loaded = self._reach(modules, _STATIC)
        return loaded, set(self._reach(modules, _STATIC, _DYNAMIC))

    def _reach(self, modules: list[str], *patterns: re.Pattern[str]) -> list[str]:
        found: list[str] = []
        waiting = list(modules)
        while waiting:
            path = waiting.pop(0)
            file = self._files.get(path)
            if path in found or file is None or file.content is None:
                continue
            found.append(path)
            text = file.content.decode(errors="replace")
            for pattern in patterns:
                waiting += [urljoin(path, each) for each in pattern.findall(text)]
        return found


def _without_comments(text: str) -> str:
    text = re.sub(r"/\*\*.*?\*/", "", text, flags=re.DOTALL)
    return re.sub(r"\s*\n\s*(//.*)?", "\n", text).strip()


def _source_of(script: str) -> str:
    """An inline script in a Content-Security-Policy."""
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
