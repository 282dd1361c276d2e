"""Part files through other eyes: pyarrow, Polars, DuckDB, and the reader printed in FORMAT.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from decoding import FORMAT, documented_reader

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "part_v1.parquet"
EXTRAS = GOLDEN.with_name("part_v1_extras.parquet")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return pq.read_table(GOLDEN).to_pylist()


def documented_columns() -> list[str]:
    table = FORMAT.read_text().split("## Columns of a part")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def slow_decode(row: dict[str, Any]) -> np.ndarray:
    """One weight at a time, by the pictures."""
    shape, bits, group = row["shape"], row["bit_width"], row["group_size"]
    cols = int(np.prod(shape[1:] if len(shape) > 1 else shape))
    row_bytes = -(-cols * bits // 8)
    groups = -(-cols // group)
    out = np.empty((row["row_count"], cols), np.float32)
    for r in range(row["row_count"]):
        for i in range(cols):
            byte = row["data"][r * row_bytes + i * bits // 8]
            if bits == 8:
                code = byte - 256 if byte > 127 else byte
            else:
                code = byte >> (i % (8 // bits)) * bits & (1 << bits) - 1
            number = r * groups + i // group
            weight = np.float32(row["scales"][number]) * np.float32(code)
            if bits != 8:
                weight += np.float32(row["offsets"][number])
            out[r, i] = np.float32(row["tensor_scale"]) * weight
    return out


def slow_undo(weights: np.ndarray, row: dict[str, Any], block_0: dict[str, Any]) -> np.ndarray:
    """By matrices, in double precision."""

    def bf16(data: bytes) -> np.ndarray:
        words = np.frombuffer(data, np.uint16).astype(np.uint32)
        return (words << 16).view(np.float32).astype(np.float64)

    size, rank, cols = row["hadamard_block"], row["rank"], weights.shape[1]
    signs = [[(-1) ** (i & j).bit_count() for j in range(size)] for i in range(size)]
    rotation = np.kron(np.eye(cols // size), np.array(signs) / np.sqrt(size))
    u = bf16(row["low_rank_u"]).reshape(-1, rank)
    v = bf16(block_0["low_rank_v"]).reshape(rank, cols)
    assert row["transforms"] == ["hadamard", "low_rank", "input_scale"]
    return np.asarray((weights @ rotation + u @ v) / np.array(block_0["input_scale"]))


def test_the_columns_are_those_of_the_documentation() -> None:
    assert pq.read_schema(GOLDEN).names == documented_columns()


def test_columns_have_exact_types() -> None:
    schema = pq.read_schema(GOLDEN)
    for name, expected in {
        "layer_name": pa.string(),
        "shape": pa.list_(pa.field("element", pa.int64(), nullable=False)),
        "data": pa.binary(),
        "bit_width": pa.int8(),
        "group_size": pa.int32(),
        "scales": pa.list_(pa.field("element", pa.float16(), nullable=False)),
        "tensor_scale": pa.float32(),
        "is_diffusion_model": pa.bool_(),
        "checksum": pa.uint64(),
    }.items():
        assert schema.field(name).type == expected, name
        assert not schema.field(name).nullable, name
    assert schema.field("sqnr_db").nullable


def test_the_reader_of_the_documentation_decodes(rows: list[dict[str, Any]]) -> None:
    decode = documented_reader()
    quantized = [row for row in rows if row["quant_type"] != "none"]
    assert {row["bit_width"] for row in quantized} == {2, 4, 8}
    for row in quantized:
        decoded = decode(row, row)
        np.testing.assert_array_equal(decoded, slow_decode(row), row["layer_name"])


def test_the_reader_of_the_documentation_undoes_transforms() -> None:
    decode = documented_reader()
    rows = [row for row in pq.read_table(EXTRAS).to_pylist() if row["transforms"]]
    first = {row["layer_name"]: row for row in rows if row["block_index"] == 0}
    assert [row["block_index"] for row in rows] == [0, 0, 0, 1]
    for row in rows:
        block_0 = first[row["layer_name"]]
        weights = slow_undo(slow_decode(row).astype(np.float64), row, block_0)
        np.testing.assert_allclose(decode(row, block_0), weights, rtol=1e-5, atol=1e-6)


def test_codes_are_a_slice_at_the_end_of_their_column_chunk(rows: list[dict[str, Any]]) -> None:
    metadata = pq.read_metadata(GOLDEN)
    column = metadata.schema.names.index("data")
    contents = GOLDEN.read_bytes()
    first_row = 0
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        if group.num_rows == 1:
            chunk = group.column(column)
            end = chunk.data_page_offset + chunk.total_compressed_size
            data = rows[first_row]["data"]
            assert contents[end - len(data) : end] == data
        first_row += group.num_rows


def test_polars_reads_the_same_values(rows: list[dict[str, Any]]) -> None:
    import polars

    assert polars.read_parquet(GOLDEN).to_dicts() == rows


def test_duckdb_reads_the_same_values(rows: list[dict[str, Any]]) -> None:
    import duckdb

    connection = duckdb.connect()
    found = connection.execute(f"SELECT layer_name, bit_width, sqnr_db FROM '{GOLDEN}'").fetchall()
    assert found == [(r["layer_name"], r["bit_width"], r["sqnr_db"]) for r in rows]
    everything = connection.execute(f"SELECT * FROM '{GOLDEN}'").fetchall()
    for values, row in zip(everything, rows, strict=True):
        assert list(values) == list(row.values()), row["layer_name"]
