"""The documents are true: their commands, their programs, and the paths that they name."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("src/treadle/**/*.md")])
README = (ROOT / "README.md").read_text()

# A fenced program and, if a "text" block follows at once, its output.
PROGRAMS = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", README, re.DOTALL)
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]


def test_readme_has_two_commands() -> None:
    demo, tests = COMMANDS
    assert demo.endswith("&& .venv/bin/treadle demo")
    assert tests.endswith("&& .venv/bin/python -m pytest")


def test_continuous_integration_runs_exactly_the_readmes_test_command() -> None:
    assert COMMANDS[1] in (ROOT / ".ci" / "run").read_text().splitlines()


def test_readme_has_programs() -> None:
    assert PROGRAMS


@pytest.mark.parametrize(("source", "printed"), PROGRAMS)
def test_readme_program_runs_and_prints_what_it_says(
    source: str, printed: str, fresh: Callable[..., str]
) -> None:
    output = fresh(source)
    if printed:
        assert output == printed


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_paths_named_in_documents_exist(document: Path) -> None:
    text = document.read_text()
    links = [
        link.partition("#")[0]
        for link in re.findall(r"\]\(([^)\s]+)\)", text)
        if not link.startswith(("http:", "https:", "#"))
    ]
    # In prose, a word in backticks is a path if it ends with a slash or a known extension.
    quoted = re.findall(r"`([\w.*-]+(?:/[\w.*-]+)*(?:/|\.(?:py|pyx|pxd|pyi|h|md|toml)))`", text)
    missing = [
        name
        for name in [*links, *quoted]
        if not any(
            list(base.glob(name)) for base in (document.parent, ROOT, ROOT / "src" / "treadle")
        )
    ]
    assert missing == []
