"""Benchmark of quantize_batch_arrow: 300 layers of a million float32 weights in one call.

Beside it, in the same rounds and on the same threads, runs the C++ call that quantizes and measures
layers of that size (build/release/bench/batch_bench), into buffers that it reuses. "of C++" is the
ratio of speeds within a round; all figures are medians. The overhead is what a layer costs beyond
its weights: of the batch, taken from many layers of one group; of a call per layer from Python
lists, what such a call takes beyond the time that C++ needs for the layer.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrow_quant_v2 import ArrowQuantV2, DiffusionQuantConfig

PROGRAM = Path("build/release/bench/batch_bench")
JOBS = [(4, "mse"), (2, "mse"), (8, "mse"), (4, "rtn"), (8, "rtn")]
QUANTIZER = ArrowQuantV2()


class CppCall:
    """The C++ program, waiting for a line before each run."""

    def __init__(self, layers: int, weights: int, bits: int, method: str, threads: int) -> None:
        command = [str(PROGRAM), *map(str, (layers, weights, bits, method, threads))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def seconds(self) -> float:
        """Run once."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """Let the program end."""
        self.process.communicate()


def table_of(values: NDArray[np.float32], layers: int) -> pa.Table:
    """The same number of weights in every layer, in memory of Arrow, aligned as C++ has them."""
    size = len(values) // layers
    offsets = pa.array(np.arange(layers + 1, dtype=np.int64) * size)
    memory = pa.allocate_buffer(values.nbytes)
    np.frombuffer(memory, np.float32)[:] = values
    weights = pa.Array.from_buffers(pa.float32(), len(values), [None, memory])
    lists = pa.LargeListArray.from_arrays(offsets, weights)
    return pa.table({"layer_name": [f"layer{i}" for i in range(layers)], "weights": lists})


def batch_seconds(table: pa.Table, config: DiffusionQuantConfig) -> float:
    """One call; what it returns is gone before the next."""
    begin = time.perf_counter()
    QUANTIZER.quantize_batch_arrow(table, config)
    return time.perf_counter() - begin


def list_seconds(weights: list[float], config: DiffusionQuantConfig) -> float:
    """A call for one layer whose weights are a Python list."""
    begin = time.perf_counter()
    lists = pa.array([weights], pa.list_(pa.float32()))
    QUANTIZER.quantize_batch_arrow(pa.table({"layer_name": ["layer"], "weights": lists}), config)
    return time.perf_counter() - begin


def main() -> None:
    """Run the rounds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--layers", type=int, default=300)
    parser.add_argument("--weights", type=int, default=1_000_000, help="of a layer")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    layers, size, threads = arguments.layers, arguments.weights, arguments.threads
    one = np.random.default_rng(0).normal(0, 0.02, size).astype(np.float32)
    table = table_of(np.tile(one, layers), layers)
    gigabytes = layers * size * 4 / 1e9
    print(f"{layers} layers of {size} float32 weights, {threads} threads:")
    print(f"{'':<10}{'C++ GB/s':>10}{'batch GB/s':>12}{'of C++':>8}")
    per_layer = 0.0
    for bits, method in JOBS:
        config = DiffusionQuantConfig(bit_width=bits, method=method, num_threads=threads)
        cpp = CppCall(layers, size, bits, method, threads)
        rounds = [(cpp.seconds(), batch_seconds(table, config)) for _ in range(arguments.rounds)]
        cpp.close()
        alone, batch = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratio = statistics.median(c / b for c, b in rounds)
        print(
            f"int{bits} {method:<5}{gigabytes / alone:>10.2f}{gigabytes / batch:>12.2f}"
            f"{ratio:>8.2f}"
        )
        per_layer = per_layer or alone / layers
    config = DiffusionQuantConfig(num_threads=threads)
    many = 20_000
    small = table_of(np.tile(one[:128], many), many)
    overhead = statistics.median(batch_seconds(small, config) for _ in range(9)) / many
    weights = one.tolist()
    lists = statistics.median(list_seconds(weights, config) for _ in range(9)) - per_layer
    print(f"overhead of a layer: {overhead * 1e6:.2f} µs in a batch, ", end="")
    print(f"{lists * 1e3:.1f} ms in a call of its own from a list: {lists / overhead:,.0f} x")


if __name__ == "__main__":
    main()
