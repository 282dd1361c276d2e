"""A C++ project of three files finds the installed package, builds and quantizes a model."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "python"
MODEL = ROOT / "examples" / "digits_dit" / "model"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def consumer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package below a fresh prefix and build the consumer against it alone."""
    folder = tmp_path_factory.mktemp("consumer")
    steps: list[list[str | Path]] = [
        ["cmake", "--install", BUILD, "--component", "devel", "--prefix", folder / "prefix"],
        ["cmake", "-S", ROOT / "tests/install/consumer", "-B", folder / "build"]
        + [f"-DCMAKE_PREFIX_PATH={folder / 'prefix'}"],
        ["cmake", "--build", folder / "build"],
    ]
    for step in steps:
        done = run(*step)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build" / "consumer"


def test_the_consumer_quantizes_and_validates_a_model(consumer: Path, tmp_path: Path) -> None:
    done = run(consumer, MODEL, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "passed" in done.stdout
    assert (tmp_path / "out" / "manifest.json").exists()


def test_each_public_header_stands_alone_and_shows_no_third_party_type(consumer: Path) -> None:
    include = consumer.parents[1] / "prefix" / "include"
    headers = sorted((include / "arrow_quant").rglob("*.h"))
    assert len(headers) > 10
    done = run("g++", "-std=c++20", "-Wall", "-fsyntax-only", "-xc++", "-I", include, *headers)
    assert done.returncode == 0, done.stderr
    standard = re.compile(r"<[a-z_]+>")  # third-party headers have a folder or end in .h
    for header in headers:
        for included in re.findall(r"^#include (\S+)", header.read_text(), re.MULTILINE):
            assert included.startswith('"arrow_quant/') or standard.fullmatch(included), header


def test_a_consumer_with_an_eigen_of_its_own_meets_no_symbol_of_ours(consumer: Path) -> None:
    libraries = list((consumer.parents[1] / "prefix").rglob("libarrow_quant.so"))
    assert len(libraries) == 1
    done = run("nm", "--dynamic", "--demangle", "--defined-only", *libraries)
    assert done.returncode == 0, done.stderr
    assert "arrow_quant::quantize_rows" in done.stdout
    assert "Eigen::" not in done.stdout


def test_the_consumer_meets_errors_as_exceptions(consumer: Path, tmp_path: Path) -> None:
    done = run(consumer, tmp_path / "nothing", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.startswith("ModelNotFound: ")
