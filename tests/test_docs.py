"""The documents are true: their commands, their programs, and the paths that they name."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("src/treadle/**/*.md")])
README = (ROOT / "README.md").read_text()

# A fenced program and, if a "text" block follows at once, its output.
PROGRAM = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", re.DOTALL)
PROGRAMS = PROGRAM.findall(README)
STRUCTURED = PROGRAM.findall((ROOT / "docs" / "structured.md").read_text())
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


def test_every_program_about_structure_prints_something() -> None:
    assert len(STRUCTURED) == 6
    assert all(printed for _, printed in STRUCTURED)


@pytest.mark.parametrize(("source", "printed"), STRUCTURED)
def test_program_about_structure_prints_what_is_said(
    source: str, printed: str, fresh: Callable[..., str]
) -> None:
    assert fresh(source) == printed


GUIDE = (ROOT / "docs" / "testing.md").read_text()

# Each program begins with its name; each command comes with lines that it prints, in this order.
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", GUIDE, re.DOTALL))
RUNS = re.findall(r"```sh\n(.*?)\n```\n\n```text\n(.*?)```", GUIDE, re.DOTALL)


def plain(text: str) -> list[str]:
    """Lines without what differs each time: addresses, folders, seconds, rulers."""
    text = re.sub(r"0x[0-9a-f]+", "0x7f", text)
    text = re.sub(r'(File "|at )/\S*/(\w+\.py)', r"\1\2", text)
    text = re.sub(r"\d+\.\d\ds\b", "0.1s", text)
    return [re.sub(r"^[=_]+ | [=_]+$", "", line.rstrip()) for line in text.splitlines()]


def test_every_program_of_the_guide_is_run() -> None:
    assert len(FILES) == GUIDE.count("```python")
    assert len(RUNS) == GUIDE.count("```sh") == GUIDE.count("```text")
    tests = {name for name in FILES if name.startswith("test_")}
    assert tests == {word for command, _ in RUNS for word in command.split() if ".py" in word}


@pytest.mark.parametrize(("command", "printed"), RUNS, ids=[command for command, _ in RUNS])
def test_guide_command_prints_what_it_says(command: str, printed: str, tmp_path: Path) -> None:
    for name, source in FILES.items():
        (tmp_path / name).write_text(f"# {name}\n{source}")
    program, *arguments = shlex.split(command)
    assert program == "pytest"
    done = subprocess.run(
        [sys.executable, "-m", program, "-p", "no:cacheprovider", *arguments],
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    expected = [line for line in plain(printed) if line and line != "..."]
    assert done.returncode == (1 if "failed" in expected[-1] else 0), done.stdout + done.stderr
    lines = iter(plain(done.stdout))
    missing = [line for line in expected if not any(line in each for each in lines)]
    assert missing == [], done.stdout


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
