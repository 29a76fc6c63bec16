"""What the pages say is so: commands exist, options exist, links lead somewhere, code is whole."""

import re
import tomllib

import pytest
import typer
from typer.main import get_command

from effsearch.cli import make_app
from effsearch.report.run_files import COLUMNS, MORE_COLUMNS
from tests.docs.pages import PAGES, ROOT, arguments, inline, snippets

TYPED = [page for page in PAGES if any(s.commands() for s in snippets(page))]
EXAMPLES = ROOT / "tests" / "example_plugin"
WHOLE = [f"docs/add_a_{what}.md" for what in ("block", "device", "runtime", "score")]
# Placeholders of a sentence, as good as a number or a name.
STANDS_FOR = {"B": "2", "K": "5", "N": "3", "M": "1", "COMMAND": "run"}
# Options of programs that are not this one.
OTHERS = {
    "--head", "--address", "--help", "--provider", "--first", "--fp16", "--exportTimes",
}  # fmt: skip
# Words that only the example package of a page makes the program take.
EXAMPLE = {"--power", "0.5"}
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.fixture(scope="module")
def program():
    return get_command(make_app())


def parse(program, words):
    """Let the program parse a command without running it; raises what it says of a wrong one."""
    command, parent, name = program, None, "effsearch"
    while True:
        context = command.context_class(command, info_name=name, parent=parent)
        alone = getattr(command, "invoke_without_command", False)
        if not hasattr(command, "commands") or (alone and not set(words) & set(command.commands)):
            command.parse_args(context, list(words))
            return command
        name, command, words = command.resolve_command(context, list(words))
        parent = context


def options(command):
    found = {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)}
    for below in getattr(command, "commands", {}).values():
        found |= options(below)
    return found


def named(program, words):
    """Return the command that some words begin with."""
    command = program
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
    return command


@pytest.mark.parametrize("page", TYPED)
def test_the_program_takes_every_command(page, program):
    for snippet in snippets(page):
        for command in snippet.commands():
            parse(program, [STANDS_FOR.get(w, w) for w in arguments(command) if w not in EXAMPLE])


@pytest.mark.parametrize("wrong", ["run --budget 2", "fly", "run --trials many", "sample -n 2"])
def test_a_wrong_command_is_found(wrong, program):
    with pytest.raises(typer.BadParameter.__bases__[0]):
        parse(program, wrong.split())


@pytest.mark.parametrize("page", [p for p in PAGES if not p.startswith("results/")])
def test_options_in_sentences_are_the_program_s(page, program):
    for text in inline(page):
        if text.startswith(("python ", "pip ", "pytest ", "mkdocs ", "torchrun ", "ray ")):
            continue
        command = program
        if text.startswith("effsearch "):
            words = text.removeprefix("effsearch ").split()
            command = named(program, words)
            assert command is not program or words[0] in STANDS_FOR, text
        own = options(command)
        for word in re.findall(r"(?<![\w-])--[a-z][\w-]*", text):
            assert word in own | OTHERS | EXAMPLE, f"{page}: `{text}`"


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_to_files(page):
    text = (ROOT / page).read_text()
    for target in _LINK.findall(text):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_python_is_python(page):
    for snippet in snippets(page):
        if snippet.language == "python":
            compile(snippet.text, page, "exec")


@pytest.mark.parametrize("page", WHOLE)
def test_whole_code_is_the_example_package_s(page):
    titled = {s.title: s.text for s in snippets(page)}
    shown = [name for name in titled if (EXAMPLES / name).is_file()]
    assert shown
    for name in shown:
        assert titled[name] == (EXAMPLES / name).read_text(), name


@pytest.mark.parametrize("page", WHOLE)
def test_entry_points_shown_are_the_example_package_s(page):
    groups = tomllib.loads((EXAMPLES / "pyproject.toml").read_text())["project"]["entry-points"]
    for snippet in snippets(page):
        if snippet.language == "toml":
            for group, points in tomllib.loads(snippet.text)["project"]["entry-points"].items():
                assert points.items() <= groups[group].items()


def test_the_map_names_every_folder_of_both_packages():
    text = (ROOT / "docs" / "code_map.md").read_text() + (ROOT / "README.md").read_text()
    for package in ("searchspace", "effsearch"):
        for folder in (ROOT / package).iterdir():
            if folder.is_dir() and (folder / "__init__.py").exists():
                assert f"{folder.name}/" in text, folder


def test_the_formats_name_every_column():
    text = (ROOT / "docs" / "reference" / "file_formats.md").read_text()
    assert [name for name in (*COLUMNS, *MORE_COLUMNS) if f"`{name}`" not in text] == []
