"""Layers in Arrow tables: quantize_batch_arrow and its inverse."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import duckdb
import nanoarrow
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from arrow_quant_v2 import (
    ArrowQuantV2,
    ConfigurationError,
    DiffusionQuantConfig,
    QuantizationError,
    ShapeMismatchError,
    TableError,
)

QUANTIZER = ArrowQuantV2()
WIDTHS = (2, 4, 8)
Floats = NDArray[np.float32]


def gaussian(count: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0, 0.02, count).astype(np.float32)


def table_of(*weights: Floats, **columns: Any) -> pa.Table:
    names = [f"layer{i}" for i in range(len(weights))]
    lists = pa.array(list(weights), pa.list_(pa.float32()))
    return pa.table({"layer_name": names, "weights": lists, **columns})


def unpack(data: bytes, rows: int, cols: int, bits: int) -> NDArray[np.int32]:
    """Codes [rows, cols] of packed bytes: lsb first, every row from a byte on."""
    if bits == 8:
        return np.frombuffer(data, np.int8).reshape(rows, cols).astype(np.int32)
    packed = np.frombuffer(data, np.uint8).reshape(rows, -1)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (packed[:, :, None] >> shifts) & np.uint8(2**bits - 1)
    return codes.reshape(rows, -1)[:, :cols].astype(np.int32)


def restore(row: dict[str, Any]) -> Floats:
    """Scale · (code − zero_point) in float32, by numpy."""
    shape = row["shape"]
    rows, cols = (shape[0], int(np.prod(shape[1:]))) if len(shape) > 1 else (1, shape[0])
    codes = unpack(row["quantized_data"], rows, cols, row["bit_width"]).astype(np.float32)
    groups = [
        np.repeat(np.array(row[name], np.float32).reshape(rows, -1), row["group_size"], axis=1)
        for name in ("scales", "zero_points")
    ]
    scales, zero_points = (group[:, :cols] for group in groups)
    return (scales * (codes - zero_points)).astype(np.float32)


# What comes out.


def test_the_schema_is_that_of_the_format() -> None:
    fields = [
        ("layer_name", pa.string()),
        ("quantized_data", pa.large_binary()),
        ("scales", pa.list_(pa.float32())),
        ("zero_points", pa.list_(pa.float32())),
        ("shape", pa.list_(pa.int64())),
        ("bit_width", pa.uint8()),
        ("group_size", pa.int32()),
        ("cosine_similarity", pa.float32()),
        ("sqnr_db", pa.float32()),
    ]
    result = QUANTIZER.quantize_batch_arrow(table_of(gaussian(10)))
    assert result.schema.equals(pa.schema(fields))
    tolerant = QUANTIZER.quantize_batch_arrow(table_of(gaussian(10)), continue_on_error=True)
    assert tolerant.schema.equals(pa.schema([*fields, ("error", pa.string())]))
    assert QUANTIZER.dequantize_batch_arrow(result).schema.equals(
        pa.schema(
            [
                ("layer_name", pa.string()),
                ("weights", pa.list_(pa.float32())),
                ("shape", pa.list_(pa.int64())),
            ]
        )
    )


@pytest.mark.parametrize("bits", WIDTHS)
def test_weights_and_metrics_follow_from_the_columns(bits: int) -> None:
    shapes = [[1000], [8, 130], [4, 3, 5, 5]]
    weights = [gaussian(int(np.prod(shape)), i) for i, shape in enumerate(shapes)]
    table = table_of(*weights, shape=pa.array(shapes, pa.list_(pa.int64())))
    config = DiffusionQuantConfig(bit_width=bits, group_size=64)
    batch = QUANTIZER.quantize_batch_arrow(table, config)
    restored = QUANTIZER.dequantize_batch_arrow(batch)
    assert restored["shape"].to_pylist() == batch["shape"].to_pylist() == shapes
    for row, back, original in zip(
        batch.to_pylist(), restored["weights"].to_pylist(), weights, strict=True
    ):
        mine = restore(row).ravel()
        np.testing.assert_array_equal(np.array(back, np.float32), mine)
        x, y = original.astype(np.float64), mine.astype(np.float64)
        cosine = x @ y / np.sqrt((x @ x) * (y @ y))
        sqnr = 10 * np.log10((x @ x) / ((x - y) @ (x - y)))
        assert row["cosine_similarity"] == pytest.approx(cosine, abs=1e-6)
        assert row["sqnr_db"] == pytest.approx(sqnr, abs=1e-3)


def test_zero_points_of_eight_bits_are_zero() -> None:
    batch = QUANTIZER.quantize_batch_arrow(table_of(gaussian(300)), bit_width=8)
    assert batch["zero_points"].to_pylist() == [[0.0, 0.0, 0.0]]


def test_bit_width_wins_over_the_config_and_leaves_it_alone() -> None:
    config = DiffusionQuantConfig(bit_width=2, group_size=32)
    batch = QUANTIZER.quantize_batch_arrow(table_of(gaussian(64)), config, bit_width=8)
    assert batch["bit_width"].to_pylist() == [8]
    assert batch["group_size"].to_pylist() == [32]
    assert config.bit_width == 2


def test_no_layer_rule_and_no_fallback_applies() -> None:
    table = pa.table({"layer_name": ["norm.bias"], "weights": [[1.0, -1.0, 0.3]]})
    config = DiffusionQuantConfig(bit_width=2, min_accuracy=1.0, fail_fast=True)
    assert QUANTIZER.quantize_batch_arrow(table, config)["bit_width"].to_pylist() == [2]


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 300)), max_size=5),
    bits=st.sampled_from(WIDTHS),
    group_size=st.sampled_from([32, 64, 128, 256]),
    magnitude=st.floats(-30, 30),
    seed=st.integers(0, 2**32 - 1),
)
def test_rounding_to_nearest_errs_by_half_a_step(
    sizes: list[tuple[int, int]], bits: int, group_size: int, magnitude: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = [
        (rng.standard_normal(rows * cols) * 10.0**magnitude).astype(np.float32)
        for rows, cols in sizes
    ]
    shapes = pa.array([list(size) for size in sizes], pa.list_(pa.int64()))
    config = DiffusionQuantConfig(bit_width=bits, group_size=group_size, method="rtn")
    batch = QUANTIZER.quantize_batch_arrow(table_of(*weights, shape=shapes), config)
    restored = QUANTIZER.dequantize_batch_arrow(batch)
    for i, (rows, cols) in enumerate(sizes):
        x = weights[i].reshape(rows, cols)
        y = restored["weights"][i].values.to_numpy().reshape(rows, cols)
        for start in range(0, cols, group_size):
            part = slice(start, start + group_size)
            step = (x[:, part].max(axis=1) - x[:, part].min(axis=1)) / (2**bits - 1)
            if bits == 8:
                step = np.abs(x[:, part]).max(axis=1) / 127
            # fp16 scale and offset: each off by 2^-11 of itself, which codes multiply; and a
            # group of one weight far from zero has only the bits of two of them.
            slack = np.abs(x[:, part]).max(axis=1) * 2.0**-9
            error = np.abs(x[:, part].astype(np.float64) - y[:, part]).max(axis=1)
            assert (error <= step / 2 + slack).all()


def test_the_bytes_do_not_depend_on_threads_or_chunks() -> None:
    weights = [gaussian(n, n) for n in (5, 300_000, 1_200_000, 77)]
    table = table_of(*weights)
    batches = [
        QUANTIZER.quantize_batch_arrow(given, DiffusionQuantConfig(num_threads=threads))
        for threads in (1, 2, 7)
        for given in (table, pa.concat_tables([table.slice(i, 1) for i in range(4)]))
    ]
    assert all(batch.equals(batches[0], check_metadata=True) for batch in batches)


# What goes in.

VALUES = gaussian(300, 3)
EXPECTED = QUANTIZER.quantize_batch_arrow(table_of(*VALUES.reshape(3, 100)))


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.large_list(pa.float32()),
        pa.list_(pa.float32(), 100),
        pa.list_view(pa.float32()),
        pa.large_list_view(pa.float32()),
    ],
    ids=str,
)
@pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_every_kind_of_list_and_string_serves(kind: pa.DataType, text: pa.DataType) -> None:
    weights = pa.array([row.tolist() for row in VALUES.reshape(3, 100)], kind)
    names = pa.array(["layer0", "layer1", "layer2"], text)
    table = pa.table({"layer_name": names, "weights": weights})
    assert QUANTIZER.quantize_batch_arrow(table).equals(EXPECTED)
    padded = pa.concat_tables([table.slice(2), table.slice(0, 2)])
    assert QUANTIZER.quantize_batch_arrow(padded.slice(1)).equals(EXPECTED.slice(0, 2))


class OnlyAnArray:
    """A record batch that has nothing but __arrow_c_array__."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        capsules: tuple[object, object] = self.batch.__arrow_c_array__(requested_schema)
        return capsules


def polars_frame() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "layer_name": ["layer0", "layer1", "layer2"],
            "weights": pl.Series(VALUES.reshape(3, 100).tolist(), dtype=pl.List(pl.Float32)),
        }
    )


PRODUCERS = {
    "pyarrow table": lambda: table_of(*VALUES.reshape(3, 100)),
    "pyarrow batch": lambda: table_of(*VALUES.reshape(3, 100)).to_batches()[0],
    "pyarrow reader": lambda: table_of(*VALUES.reshape(3, 100)).to_reader(max_chunksize=2),
    "array alone": lambda: OnlyAnArray(table_of(*VALUES.reshape(3, 100)).to_batches()[0]),
    "polars": polars_frame,
    "polars array": lambda: polars_frame().with_columns(
        pl.col("weights").cast(pl.Array(pl.Float32, 100))
    ),
    "nanoarrow stream": lambda: nanoarrow.ArrayStream(table_of(*VALUES.reshape(3, 100))),
    "duckdb": lambda: duckdb.from_arrow(table_of(*VALUES.reshape(3, 100))),
    "duckdb array": lambda: duckdb.from_arrow(table_of(*VALUES.reshape(3, 100))).project(
        "layer_name, weights::FLOAT[100] AS weights"
    ),
}


@pytest.mark.parametrize("producer", PRODUCERS)
def test_tables_of_any_library_serve(producer: str) -> None:
    assert QUANTIZER.quantize_batch_arrow(PRODUCERS[producer]()).equals(EXPECTED)


def test_results_go_through_other_libraries_and_back() -> None:
    expected = QUANTIZER.dequantize_batch_arrow(EXPECTED)
    assert QUANTIZER.dequantize_batch_arrow(pl.DataFrame(EXPECTED)).equals(expected)
    relation = duckdb.from_arrow(pa.Table.from_batches([EXPECTED]))
    assert QUANTIZER.dequantize_batch_arrow(relation).equals(expected)


def test_doubles_and_halves_are_converted_with_a_note(caplog: pytest.LogCaptureFixture) -> None:
    halves = VALUES.astype(np.float16)
    expected = QUANTIZER.quantize_batch_arrow(table_of(halves.astype(np.float32)))
    for dtype, said in (
        (np.float64, "weights of float64 were rounded to float32"),
        (np.float16, "weights of float16 were widened to float32"),
    ):
        weights = pa.array([halves.astype(dtype)])
        with caplog.at_level(logging.INFO, "arrow_quant_v2"):
            batch = QUANTIZER.quantize_batch_arrow(
                pa.table({"layer_name": ["layer0"], "weights": weights})
            )
        assert batch.equals(expected)
        assert batch.schema.metadata[b"note"].decode() == said
        assert said in caplog.messages[-1]


def test_no_rows_give_no_rows() -> None:
    empty = table_of(gaussian(5)).slice(0, 0)
    untyped = pa.table({"layer_name": [], "weights": [], "shape": []})
    for nothing in (empty, untyped, pa.RecordBatchReader.from_batches(empty.schema, [])):
        batch = QUANTIZER.quantize_batch_arrow(nothing)
        assert batch.num_rows == 0
        assert QUANTIZER.dequantize_batch_arrow(batch).num_rows == 0


# Errors.


def with_nan(count: int, at: int, value: float) -> Floats:
    weights = gaussian(count)
    weights[at] = value
    return weights


NAMES = pa.array(["a", "b"])
LISTS = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32()))
BAD_ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "null name": ({"layer_name": pa.array(["a", None])}, "'layer_name', row 1 is null"),
    "empty name": ({"layer_name": pa.array(["a", ""])}, "'layer_name', row 1 is empty"),
    "name twice": ({"layer_name": ["a", "a"]}, r"'layer_name', row 1 \(\"a\"\) has the name of"),
    "null row": ({"weights": pa.array([[1.0], None])}, r"'weights', row 1 \(\"b\"\) is null"),
    "null weight": (
        {"weights": pa.array([[1.0], [1.0, None]])},
        r"'weights', row 1 \(\"b\"\), weight 1 is null",
    ),
    "nan": ({"weights": [[1.0], [1.0, float("nan")]]}, r"row 1 \(\"b\"\) holds nan at \[1\]"),
    "infinite": ({"weights": [[1.0], [float("-inf")]]}, r"row 1 \(\"b\"\) holds -inf at \[0\]"),
    "too large": ({"weights": [[1.0], [1e39]]}, r"row 1 \(\"b\"\) holds 1e\+39 at \[0\]"),
    "shape": ({"shape": [[2], [3, 2]]}, r"'shape', row 1 \(\"b\"\): \[3, 2\] does not fit"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_a_value_error_that_names_it(case: str) -> None:
    columns, message = BAD_ROWS[case]
    table = pa.table({"layer_name": NAMES, "weights": LISTS} | columns)
    expected = ShapeMismatchError if case == "shape" else TableError
    with pytest.raises(ValueError, match=message) as caught:
        QUANTIZER.quantize_batch_arrow(table)
    assert type(caught.value) is expected
    batch = QUANTIZER.quantize_batch_arrow(table, continue_on_error=True)
    [good, bad] = batch["error"].to_pylist()
    assert good is None
    assert bad == str(caught.value)
    [first, second] = batch.drop_columns(["layer_name", "error"]).to_pylist()
    assert None not in first.values()
    assert set(second.values()) == {None}
    assert QUANTIZER.dequantize_batch_arrow(batch)["weights"].is_null().to_pylist() == [False, True]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"weights": LISTS}, "no column 'layer_name'"),
        ({"layer_name": NAMES}, "no column 'weights'"),
        ({"layer_name": [1, 2], "weights": LISTS}, "'layer_name' has type int64; allowed: string"),
        (
            {"layer_name": NAMES, "weights": [[1], [2]]},
            "'weights' has type list<.*int64>; allowed: list, .* of float, double or halffloat",
        ),
        ({"layer_name": NAMES, "weights": [1.0, 2.0]}, "'weights' has type double; allowed: list"),
        (
            {"layer_name": NAMES, "weights": LISTS, "shape": [2, 2]},
            "'shape' has type int64; allowed: list, .* of int64 or int32",
        ),
    ],
)
def test_a_bad_schema_is_a_value_error_even_if_rows_may_fail(
    columns: dict[str, Any], message: str
) -> None:
    for continue_on_error in (False, True):
        with pytest.raises(TableError, match=message) as caught:
            QUANTIZER.quantize_batch_arrow(pa.table(columns), continue_on_error=continue_on_error)
        assert isinstance(caught.value, ValueError)
        assert caught.value.code == "Schema"


def test_what_is_no_table_is_a_type_error() -> None:
    for nothing in ([1.0], None, {"layer_name": ["a"]}):
        with pytest.raises(TypeError, match="__arrow_c_stream__"):
            QUANTIZER.quantize_batch_arrow(nothing)  # type: ignore[arg-type]


def test_an_array_that_is_no_struct_is_a_table_error() -> None:
    with pytest.raises(TableError, match="give a table"):
        QUANTIZER.quantize_batch_arrow(pa.array([1.0]))


def test_a_failing_producer_keeps_its_message() -> None:
    schema = table_of(gaussian(3)).schema

    def batches() -> Any:
        yield table_of(gaussian(3)).to_batches()[0]
        raise OSError("the disk is on fire")

    with pytest.raises(QuantizationError, match="the disk is on fire"):
        QUANTIZER.quantize_batch_arrow(pa.RecordBatchReader.from_batches(schema, batches()))


def test_bad_options_are_configuration_errors() -> None:
    with pytest.raises(ConfigurationError, match="bit_width = 3"):
        QUANTIZER.quantize_batch_arrow(table_of(gaussian(3)), bit_width=3)


def test_contradictions_in_a_coded_batch_are_value_errors() -> None:
    shorter = pa.array([[1.0]] * 3, pa.list_(pa.float32()))
    columns = dict(zip(EXPECTED.schema.names, EXPECTED.columns, strict=True))
    wrong = pa.table(columns | {"shape": pa.array([[100], [100], [101]])})
    with pytest.raises(ShapeMismatchError, match=r"'quantized_data', row 2 \(\"layer2\"\) has 50"):
        QUANTIZER.dequantize_batch_arrow(wrong)
    with pytest.raises(TableError, match="'scales' has type"):
        QUANTIZER.dequantize_batch_arrow(pa.table(columns | {"scales": shorter.values}))


# Memory and time.


def test_results_outlive_everything_that_made_them() -> None:
    table = table_of(*VALUES.reshape(3, 100))
    quantizer = ArrowQuantV2()
    batch = quantizer.quantize_batch_arrow(table)
    data = batch["quantized_data"]
    address = data.buffers()[2].address
    del table, quantizer, batch
    gc.collect()
    assert data.buffers()[2].address == address
    assert data.equals(EXPECTED["quantized_data"])


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
