"""Whole-program benchmark: a generated 1 GiB bf16 model through the command line, beside `cp`.

Every round runs `cp --reflink=never` of the model file and each quantization once, so that a noisy
machine is noisy for all of them; the table shows medians, and ratios to cp of the same round. The
model is in the page cache. Flushing to disk is left out of the times and shown beside them (cp does
not flush). "peak MiB" is the peak resident memory of the whole program.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

PROGRAM = Path(sys.executable).with_name("arrow-quant")
JOBS = {
    "int4 (default)": ["--bits", "4"],
    "int4 min-max": ["--bits", "4", "--method", "rtn"],
    "int2 (default)": ["--bits", "2"],
    "int8 (default)": ["--bits", "8"],
    "target 3.5 bpw": ["--target-bpw", "3.5"],
}


class Run(NamedTuple):
    """One run of a program; times in seconds, memory in MiB."""

    wall: float
    cpu: float
    peak: float
    flush: float


def write_model(path: Path, num_tensors: int, side: int = 4096) -> int:
    """Write gaussian bf16 weights [side, side] as one safetensors file; return its size."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal(side * side, dtype=np.float32) * np.float32(0.02)
    half = (values.view(np.uint32) >> 16).astype(np.uint16)
    size = half.nbytes
    header = {
        f"blocks.{i}.fc.weight": {
            "dtype": "BF16",
            "shape": [side, side],
            "data_offsets": [i * size, (i + 1) * size],
        }
        for i in range(num_tensors)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # as safetensors writes it
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for i in range(num_tensors):
            file.write(np.roll(half, 7919 * i).tobytes())
    return path.stat().st_size


def measure(command: list[str]) -> Run:
    """Run a command to its end. With --json, its report says how long it flushed."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}")
    report = json.loads(output) if "--json" in command else {}
    flush = report.get("flush_time_s", 0.0)
    peak = report.get("peak_memory_mb", 0.0)
    return Run(wall - flush, usage.ru_utime + usage.ru_stime, peak, flush)


def median(runs: list[Run]) -> Run:
    """The median of each figure."""
    return Run(*(statistics.median(column) for column in zip(*runs, strict=True)))


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tensors", type=int, default=32, help="of 32 MiB each")
    parser.add_argument("--folder", type=Path, default=Path("build/bench"))
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model.safetensors"
    gigabytes = write_model(model, arguments.tensors) / 1e9
    runs: dict[str, list[Run]] = {"cp": []} | {job: [] for job in JOBS}
    for _ in range(arguments.rounds):
        copy, output = folder / "copy", folder / "output"
        copy.unlink(missing_ok=True)
        runs["cp"].append(measure(["cp", "--reflink=never", str(model), str(copy)]))
        copy.unlink()
        for job, options in JOBS.items():
            shutil.rmtree(output, ignore_errors=True)
            command = [str(PROGRAM), "quantize", str(model), str(output), "--json", "--quiet"]
            command += ["--threads", str(arguments.threads), *options]
            runs[job].append(measure(command))
    shutil.rmtree(folder)
    print(f"{gigabytes:.2f} GB of bf16, {os.cpu_count()} cores, median of {arguments.rounds}:")
    print(f"{'':<16}{'wall s':>8}{'x cp':>7}{'CPU s':>8}{'GB/s in':>9}{'peak MiB':>10}", end="")
    print(f"{'flush s':>9}")
    for job, rounds in runs.items():
        m = median(rounds)
        ratio = statistics.median(r.wall / c.wall for r, c in zip(rounds, runs["cp"], strict=True))
        print(
            f"{job:<16}{m.wall:>8.3f}{ratio:>7.2f}{m.cpu:>8.2f}{gigabytes / m.wall:>9.2f}"
            f"{m.peak:>10.1f}{m.flush:>9.3f}"
        )


if __name__ == "__main__":
    main()
