"""Reading the documentation: its files, blocks of code and links, and what the code says must be in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGES = ("orchestrator", "tenants", "dashboard")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"Put this into\s+`([^`]+)`[^`]*\Z")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code.  `file` is where the sentence before it tells the reader to put it."""

    page: str
    language: str
    text: str
    file: str | None


def pages() -> list[Path]:
    """Every page, the README and the changelog too."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def text(name: str) -> str:
    """A page of `docs/`."""
    return (DOCS / name).read_text()


def blocks(page: Path) -> list[Block]:
    """The page's blocks of code, in order."""
    content = page.read_text()
    found = []
    for match in _BLOCK.finditer(content):
        file = _FILE.search(content[: match.start()])
        found.append(Block(page.name, match[1], match[2], file[1] if file else None))
    return found


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    plain = _BLOCK.sub("", page.read_text())
    titles = re.findall(r"^#+ (.+)$", plain, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures that lead to no other host."""
    plain = _BLOCK.sub("", page.read_text())
    found = re.findall(r"\]\(([^)\s]+)\)", plain)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def in_code(page: str) -> set[str]:
    """Every word of a page of `docs/` that stands in `code`."""
    spans = re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text(page)))
    return {word for span in spans for word in re.findall(r"[\w./{}-]+", span)}


def trees() -> Iterator[ast.Module]:
    """The syntax of every module of the product."""
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            if "migrations" not in file.parts:
                yield ast.parse(file.read_text())


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of the product, by the last word of what is called."""
    for tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                if isinstance(node.func, ast.Name):
                    yield node.func.id, node
                elif isinstance(node.func, ast.Attribute):
                    yield node.func.attr, node


def constant(call: ast.Call, place: int) -> str | None:
    """The argument at that place (from 0), where it is plain text."""
    if len(call.args) <= place:
        return None
    given = call.args[place]
    return given.value if isinstance(given, ast.Constant) and isinstance(given.value, str) else None
