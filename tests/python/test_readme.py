"""Every snippet of README.md runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SNIPPETS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like the repository to a snippet, but may be written to."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def code(language: str) -> str:
    return "\n".join(text for name, text in SNIPPETS if name == language)


@pytest.mark.parametrize(
    ("language", "command"), [("sh", ["bash", "-e", "-c"]), ("python", [sys.executable, "-c"])]
)
def test_snippets_run(folder: Path, language: str, command: list[str]) -> None:
    assert code(language)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*command, code(language)],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_cpp_snippet_is_what_the_consumer_project_does(tmp_path: Path) -> None:
    """It compiles as the body of a function; the consumer project's test runs the same calls."""
    lines = code("cpp").splitlines()
    includes = [line for line in lines if line.startswith("#include")]
    body = [line for line in lines if not line.startswith("#include")]
    source = tmp_path / "snippet.cc"
    source.write_text("\n".join([*includes, "void snippet() {", *body, "}", ""]))
    subprocess.run(["g++", "-std=c++20", "-fsyntax-only", f"-I{ROOT}", source], check=True)
