"""quantize_batch_arrow and its inverse: what comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrow_batches import QUANTIZER, Floats, gaussian, table_of
from arrow_quant_v2 import DiffusionQuantConfig
from decoding import unpack

WIDTHS = (2, 4, 8)


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
    one, seven = (QUANTIZER.dequantize_batch_arrow(batches[0], num_threads=n) for n in (1, 7))
    assert one.equals(seven)
