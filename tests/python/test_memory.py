"""Peak memory is bounded, whatever the size of the model and of its tensors.

Aligned weights are read in place, from pages that count as the program's own; others are copied.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from program import PROGRAM
from tiny import write_sparse_model


def peak_mebibytes(*arguments: str) -> float:
    """Run the program and return its peak resident memory as the operating system counts it."""
    done = subprocess.run([PROGRAM, *arguments, "--json"], stdout=subprocess.PIPE, check=True)
    peak: float = json.loads(done.stdout)["peak_memory_mb"]
    return peak


@pytest.mark.parametrize(
    ("num_tensors", "rows", "cols", "bits", "aligned"),
    [
        (2, 16384, 16384, 8, True),  # two tensors of 1 GiB, each of four blocks
        (40, 2048, 8192, 2, True),  # many of ordinary size
        (1, 32, 8388608, 4, True),  # rows of 32 MiB
        (1, 32, 8388608, 4, False),
    ],
)
def test_peak_memory_stays_within_256_mebibytes(
    tmp_path: Path, num_tensors: int, rows: int, cols: int, bits: int, aligned: bool
) -> None:
    model = tmp_path / "model.safetensors"
    write_sparse_model(model, num_tensors, rows, cols, aligned)
    arguments = ["quantize", str(model), str(tmp_path / "out"), "--bits", str(bits)]
    arguments += ["--modality", "image", "--quiet"]
    assert peak_mebibytes(*arguments) < 256


IDLE_MEBIBYTES = 64  # of the program before it works, with all its libraries; 50 were seen


@pytest.mark.parametrize(
    ("limit", "options"),
    [(160, ["--group-size", "32"]), (256, ["--target-bpw", "3.5"])],
)
def test_a_streaming_run_stays_within_its_limit_whatever_the_size_of_tensors(
    tmp_path: Path, limit: int, options: list[str]
) -> None:
    model = tmp_path / "model.safetensors"
    write_sparse_model(model, num_tensors=1, rows=32768, cols=24576)  # 3 GiB
    arguments = ["quantize", str(model), str(tmp_path / "out"), "--bits", "4"]
    arguments += ["--streaming", "--max-memory-mb", str(limit), "--threads", "16"]
    arguments += ["--modality", "image", "--quiet", *options]
    assert peak_mebibytes(*arguments) < limit + IDLE_MEBIBYTES
