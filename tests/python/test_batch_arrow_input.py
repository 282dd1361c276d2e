"""quantize_batch_arrow and its inverse: what goes in, and what is refused."""

from __future__ import annotations

import logging
from typing import Any

import duckdb
import nanoarrow
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from arrow_batches import CODED, QUANTIZER, VALUES, gaussian, table_of, three_layers
from arrow_quant_v2 import ConfigurationError, QuantizationError, ShapeMismatchError, TableError


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
    assert QUANTIZER.quantize_batch_arrow(table).equals(CODED)
    padded = pa.concat_tables([table.slice(2), table.slice(0, 2)])
    assert QUANTIZER.quantize_batch_arrow(padded.slice(1)).equals(CODED.slice(0, 2))


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
    "pyarrow table": lambda: three_layers(),
    "pyarrow batch": lambda: three_layers().to_batches()[0],
    "pyarrow reader": lambda: three_layers().to_reader(max_chunksize=2),
    "array alone": lambda: OnlyAnArray(three_layers().to_batches()[0]),
    "polars": polars_frame,
    "polars array": lambda: polars_frame().with_columns(
        pl.col("weights").cast(pl.Array(pl.Float32, 100))
    ),
    "nanoarrow stream": lambda: nanoarrow.ArrayStream(three_layers()),
    "duckdb": lambda: duckdb.from_arrow(three_layers()),
    "duckdb array": lambda: duckdb.from_arrow(three_layers()).project(
        "layer_name, weights::FLOAT[100] AS weights"
    ),
}


@pytest.mark.parametrize("producer", PRODUCERS)
def test_tables_of_any_library_serve(producer: str) -> None:
    assert QUANTIZER.quantize_batch_arrow(PRODUCERS[producer]()).equals(CODED)


def test_results_go_through_other_libraries_and_back() -> None:
    expected = QUANTIZER.dequantize_batch_arrow(CODED)
    assert QUANTIZER.dequantize_batch_arrow(pl.DataFrame(CODED)).equals(expected)
    relation = duckdb.from_arrow(pa.Table.from_batches([CODED]))
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
    columns = dict(zip(CODED.schema.names, CODED.columns, strict=True))
    wrong = pa.table(columns | {"shape": pa.array([[100], [100], [101]])})
    with pytest.raises(ShapeMismatchError, match=r"'quantized_data', row 2 \(\"layer2\"\) has 50"):
        QUANTIZER.dequantize_batch_arrow(wrong)
    with pytest.raises(TableError, match="'scales' has type"):
        QUANTIZER.dequantize_batch_arrow(pa.table(columns | {"scales": shorter.values}))
