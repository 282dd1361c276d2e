"""Every snippet of README.md and of the pages in docs/ runs as it stands there.

The Python snippets of a page are one program, and so are those for the shell. C++ snippets compile,
as the body of one function; test programs run the same calls.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = {"sh": ["bash", "-e", "-c"], "python": [sys.executable, "-c"]}


def code(page: Path, language: str) -> str:
    snippets = re.findall(r"```(\w+)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return "\n".join(text for name, text in snippets if name == language)


def pages_with(language: str) -> list[object]:
    return [pytest.param(page, id=page.name) for page in PAGES if code(page, language)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like the repository to a snippet, but may be written to."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def run(language: str, text: str, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*COMMANDS[language], text],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", pages_with("sh"))
def test_shell_snippets_run(page: Path, folder: Path) -> None:
    run("sh", code(page, "sh"), folder)


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_snippets_run(page: Path, folder: Path) -> None:
    run("python", code(page, "python"), folder)


@pytest.mark.parametrize("page", pages_with("cpp"))
def test_cpp_snippets_compile(page: Path, tmp_path: Path) -> None:
    lines = code(page, "cpp").splitlines()
    includes = [line for line in lines if line.startswith("#include")]
    body = [line for line in lines if not line.startswith("#include")]
    source = tmp_path / "snippet.cc"
    source.write_text("\n".join([*includes, "void snippet() {", *body, "}", ""]))
    subprocess.run(["g++", "-std=c++20", "-fsyntax-only", f"-I{ROOT}", source], check=True)
