"""What a page tells its reader to type: commands, Python, and files to write."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("results/**/*.md"))
    if not path.is_relative_to(ROOT / "results" / "runs")
)
_FENCE = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.M | re.S)
_INDENTED = re.compile(r"(?:^    .*\n)+", re.M)
_INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_COMMAND = re.compile(r"\beffsearch (?!=)(.*)$")


@dataclass(frozen=True)
class Snippet:
    """A block of a page.

    Attributes:
        language: of the block; empty for an indented one.
        title: name of the file that it is, where it is one.
        text: what it holds.
    """

    language: str
    title: str
    text: str

    def commands(self) -> list[str]:
        """Return the lines that call the program, without comments and what stands before it."""
        if self.language not in ("", "sh", "text"):
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        found = (re.sub(r"\s+#.*", "", line.strip()) for line in lines)
        return [line for line in found if re.search(r"(^|&& |-m )effsearch ", line)]


def snippets(page: str) -> list[Snippet]:
    """Return a page's blocks in order."""
    text = (ROOT / page).read_text()
    found = [(m.start(), Snippet(m[1], m[2] or "", m[3])) for m in _FENCE.finditer(text)]
    rest = _FENCE.sub(lambda m: " " * len(m[0]), text)
    for block in _INDENTED.finditer(rest):
        lines = block[0].splitlines()
        found.append((block.start(), Snippet("", "", "\n".join(line[4:] for line in lines))))
    return [snippet for _, snippet in sorted(found, key=lambda pair: pair[0])]


def inline(page: str) -> list[str]:
    """Return what a page sets in code type within its sentences and tables."""
    text = _FENCE.sub("", (ROOT / page).read_text())
    return [" ".join(match.split()) for match in _INLINE.findall(text)]


def arguments(command: str) -> list[str]:
    """Return what follows the program's name."""
    match = _COMMAND.search(command)
    assert match is not None, command
    return shlex.split(match[1])
