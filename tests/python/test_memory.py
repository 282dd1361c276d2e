"""Peak memory is bounded, whatever the size of the model and of its tensors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("arrow-quant")


def write_sparse_model(path: Path, num_tensors: int, rows: int, cols: int) -> None:
    """Write a safetensors file of float32 zeros that takes no room on disk."""
    size = rows * cols * 4
    header = {
        f"blocks.{i}.fc.weight": {
            "dtype": "F32",
            "shape": [rows, cols],
            "data_offsets": [i * size, (i + 1) * size],
        }
        for i in range(num_tensors)
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + num_tensors * size)


def peak_mebibytes(*arguments: str) -> float:
    """Run the program and return the operating system's peak resident memory of it."""
    process = subprocess.Popen([PROGRAM, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024


@pytest.mark.parametrize(
    ("num_tensors", "rows", "cols", "bits"),
    [
        (2, 16384, 16384, 8),  # two tensors of 1 GiB, each of four blocks
        (40, 2048, 8192, 2),  # many of ordinary size
        (1, 32, 8388608, 4),  # rows of 32 MiB
    ],
)
def test_peak_memory_stays_within_256_mebibytes_above_the_idle_program(
    tmp_path: Path, num_tensors: int, rows: int, cols: int, bits: int
) -> None:
    model = tmp_path / "model.safetensors"
    write_sparse_model(model, num_tensors, rows, cols)
    arguments = ["quantize", str(model), str(tmp_path / "out"), "--bits", str(bits)]
    arguments += ["--modality", "image", "--quiet"]
    assert peak_mebibytes(*arguments) - peak_mebibytes("--version") < 256
