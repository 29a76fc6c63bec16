"""What the site takes from elsewhere: the commands' help, and the evidence in results/."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.main import get_command

from effsearch.cli import make_app

ROOT = Path(__file__).parents[1]
EVIDENCE = ("*.md", "*.json", "*.png")
COMMANDS = "<!-- commands -->"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the evidence, at the place that it has in the repository."""
    for pattern in EVIDENCE:
        for path in sorted((ROOT / "results").rglob(pattern)):
            place = path.relative_to(ROOT).as_posix()
            if not place.startswith("results/runs/"):
                files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the commands, and lead links to the evidence to where it is in the site."""
    markdown = re.sub(r"(\]\((?:\.\./)*)\.\./(results/)", r"\1\2", markdown)
    if COMMANDS not in markdown:
        return markdown
    return markdown.replace(COMMANDS, "\n".join(_helps(get_command(make_app()), "effsearch")))


def _helps(command: Any, name: str) -> Iterator[str]:
    context = command.context_class(command, info_name=name, terminal_width=100)
    yield f"## {name}\n\n```text\n{command.get_help(context)}\n```\n"
    for each, below in sorted(getattr(command, "commands", {}).items()):
        yield from _helps(below, f"{name} {each}")
