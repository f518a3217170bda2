"""Every code block and command of the documentation runs, and prints what the documentation says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$"
    r"(?:\n\n```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
PICTURES = ("mermaid", "text")


@dataclass(frozen=True)
class Block:
    """One fenced block and what is said about it."""

    language: str
    text: str
    mark: str
    output: str | None

    @property
    def reason_not_to_run(self) -> str:
        """What the mark gives as a reason; empty if the block is to be run."""
        return self.mark.removeprefix("not run:").strip() if self.mark.startswith("not run:") else ""


def blocks_of(document: Path) -> list[Block]:
    """All fenced blocks of a document."""
    found = _BLOCK.finditer(document.read_text())
    return [Block(m["language"], m["text"], m["mark"] or "", m["output"]) for m in found]


def environment() -> dict[str, str]:
    """With the commands of this installation on the PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "COLUMNS": "120"}


def assert_output(said: str, seen: str) -> None:
    """Compare; ``...`` stands for anything."""
    pattern = ".*?".join(re.escape(part) for part in said.strip().split("..."))
    assert re.fullmatch(pattern, seen.strip(), re.DOTALL), f"the document shows\n{said}\nbut the output is\n{seen}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_document(document: Path, tmp_path: Path) -> None:
    """Runs the blocks of one document in order, in one directory."""
    for number, block in enumerate(blocks_of(document)):
        if block.mark.startswith("file: "):
            (tmp_path / block.mark.removeprefix("file: ")).write_text(block.text)
        if block.reason_not_to_run or block.language in (*PICTURES, "json"):
            continue
        if block.language == "python":
            script = tmp_path / f"block_{number}.py"
            script.write_text(block.text)
            command = [sys.executable, str(script)]
        else:
            assert block.language == "sh", f"a block in {document.name} has the unknown language {block.language!r}"
            command = ["bash", "-euc", block.text]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{document.name}:\n{block.text}\n{done.stderr}"
        if block.output is not None:
            assert_output(block.output, done.stdout)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_blocks_that_are_not_run_say_why(document: Path) -> None:
    """A mark is one of two, and gives its reason or name."""
    for block in blocks_of(document):
        assert not block.mark or re.fullmatch(r"(not run|file): \S.*", block.mark), block.mark


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_paths_exist(document: Path) -> None:
    """Links between files, and the files that the text names, are there."""
    text = document.read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"
    for name in re.findall(r"`((?:core|api|util|transports|simulator|faults|cli|demo)/[\w/]*(?:\.py)?)`", text):
        assert (ROOT / "thornback" / name).exists(), f"{document.name} names {name}"


def test_the_example_of_the_readme_is_15_lines() -> None:
    """As its heading says, without blank lines."""
    [example] = [block for block in blocks_of(ROOT / "README.md") if block.mark == "file: total.py"]
    assert len([line for line in example.text.splitlines() if line.strip()]) <= 15
