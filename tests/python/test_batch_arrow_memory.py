"""Calls of quantize_batch_arrow: whose memory it is, Ctrl-C, threads."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

from arrow_batches import CODED, QUANTIZER, gaussian, table_of, three_layers
from arrow_quant_v2 import ArrowQuantV2


def test_results_outlive_everything_that_made_them() -> None:
    table = three_layers()
    quantizer = ArrowQuantV2()
    batch = quantizer.quantize_batch_arrow(table)
    data = batch["quantized_data"]
    address = data.buffers()[2].address
    del table, quantizer, batch
    gc.collect()
    assert data.buffers()[2].address == address
    assert data.equals(CODED["quantized_data"])


def test_a_table_is_released_when_the_call_returns() -> None:
    pool = pa.default_memory_pool()
    table = table_of(gaussian(1_000_000))
    held = pool.bytes_allocated()
    batch = QUANTIZER.quantize_batch_arrow(table)
    del table
    gc.collect()
    assert pool.bytes_allocated() < held - 3_900_000
    assert batch.num_rows == 1


IN_PLACE = """
import numpy as np, pyarrow as pa
from arrow_quant_v2 import ArrowQuantV2
def status(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key))
def table(count):
    weights = pa.FixedSizeListArray.from_arrays(pa.array(np.full(count, 0.5, np.float32)), count)
    return pa.table({"layer_name": ["a"], "weights": weights})
ArrowQuantV2().quantize_batch_arrow(table(1 << 20), bit_width=2)
large = table(1 << 26)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = status("VmRSS:")
ArrowQuantV2().quantize_batch_arrow(large, bit_width=2)
print((status("VmHWM:") - before) / 1024)
"""


def test_weights_are_read_in_place() -> None:
    """256 MiB of them give 16 MiB of codes and 4 MiB of parameters; a copy would show."""
    done = subprocess.run([sys.executable, "-c", IN_PLACE], capture_output=True, check=True)
    assert float(done.stdout) < 64


def repeated(count: int) -> pa.Table:
    """Many layers of a million weights, which all lie in the same memory."""
    weights = pa.array(np.tile(gaussian(1 << 16), 16))
    starts = pa.array(np.zeros(count, np.int64))
    sizes = pa.array(np.full(count, len(weights), np.int64))
    views = pa.LargeListViewArray.from_arrays(starts, sizes, weights)
    return pa.table({"layer_name": [f"layer{i}" for i in range(count)], "weights": views})


def test_ctrl_c_stops_a_call() -> None:
    """All layers would take seconds, and gigabytes of codes."""
    table = repeated(20_000)
    timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        QUANTIZER.quantize_batch_arrow(table, bit_width=2)
    timer.join()


def test_other_threads_run_meanwhile() -> None:
    counted, stop = 0, threading.Event()

    def count() -> None:
        nonlocal counted
        while not stop.is_set():
            counted += 1
            stop.wait(0.001)

    thread = threading.Thread(target=count)
    table = repeated(300)
    thread.start()
    before = counted
    QUANTIZER.quantize_batch_arrow(table, bit_width=2)
    during = counted - before
    stop.set()
    thread.join()
    assert during > 3


def test_two_threads_may_quantize_at_once() -> None:
    tables = [table_of(gaussian(2_000_000, seed)) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(QUANTIZER.quantize_batch_arrow, tables))
    for table, batch in zip(tables, together, strict=True):
        assert batch.equals(QUANTIZER.quantize_batch_arrow(table))
