"""What a tensor may have beside codes: transforms, bias corrections, activation parameters."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from arrow_quant_v2 import (
    ArrowQuantError,
    ConfigurationError,
    MetadataError,
    QuantizationError,
    ShapeMismatchError,
    TimeGroups,
    _core,
    inspect_model,
    load_quantized,
)
from decoding import documented_reader
from folders import digests
from tiny import from_bf16, to_bf16

WEIGHT = "blocks.0.mlp.fc1.weight"  # [256, 128]
PLAIN = "blocks.0.attn.to_q.weight"  # [128, 128]
ROWS, COLS, RANK = 256, 128, 4
RNG = np.random.default_rng(3)
U = to_bf16(RNG.normal(0, 0.1, (ROWS, RANK)).astype(np.float32))
V = to_bf16(RNG.normal(0, 0.1, (RANK, COLS)).astype(np.float32))
SCALE = (0.5 + RNG.random(COLS)).astype(np.float32)
GROUPS = {
    "kind": "timestep",
    "schedule": "linear betas",
    "timesteps": [900.0, 500.0, 100.0],
    "log_snr": [-4.0, 0.0, 4.0],
    "boundaries_timestep": [700.0, 300.0],
    "boundaries_log_snr": [-2.0, 2.0],
    "interpolation": "",
    "activation_interpolation": "",
    "window": 0,
}


def transformed(model: Path, transforms: list[str]) -> dict[str, Any]:
    """Give WEIGHT transforms, in the part (by pyarrow) and in the manifest; return its row."""
    (part,) = model.glob("*.parquet")
    table = pq.read_table(part)
    row = table["layer_name"].to_pylist().index(WEIGHT)
    values = {
        "transforms": transforms,
        "hadamard_block": 64 if "hadamard" in transforms else 0,
        "rank": RANK if "low_rank" in transforms else 0,
        "low_rank_u": U.tobytes() if "low_rank" in transforms else b"",
        "low_rank_v": V.tobytes() if "low_rank" in transforms else b"",
        "input_scale": SCALE.tolist() if "input_scale" in transforms else [],
    }
    for name, value in values.items():
        column = table[name].to_pylist()
        column[row] = value
        field = table.schema.field(name)
        table = table.set_column(
            table.schema.get_field_index(name), field, pa.array(column, field.type)
        )
    pq.write_table(table, part)
    manifest = json.loads((model / "manifest.json").read_text())
    manifest["required_features"] = sorted(transforms)
    (record,) = (r for r in manifest["components"][0]["tensors"] if r["name"] == WEIGHT)
    if transforms:
        record["extras"] = {
            "transforms": transforms,
            "hadamard_block": values["hadamard_block"],
            "rank": values["rank"],
            "bias_groups": 0,
            "act_bits": 0,
            "act_mode": "",
            "act_groups": 0,
        }
    (model / "manifest.json").write_text(json.dumps(manifest))
    found: dict[str, Any] = table.to_pylist()[row]
    return found


def revise(
    model: Path,
    out: Path | None = None,
    time_groups: str | None = None,
    bias: dict[str, Any] | None = None,
    activations: dict[str, Any] | None = None,
) -> None:
    _core.revise_model(model, out or model, "", time_groups, bias or {}, activations or {})


def activation(groups: int, mode: str = "static", bits: int = 8) -> tuple[Any, ...]:
    steps = np.arange(groups, dtype=np.float32)
    return bits, mode, 1 - steps / 8, 0.5 + steps, 3 + steps


def bias(groups: int, rows: int = ROWS) -> NDArray[np.float16]:
    return (np.arange(groups * rows).reshape(groups, rows) / 1024).astype(np.float16)


@pytest.mark.parametrize(
    "transforms",
    [
        [],
        ["hadamard"],
        ["low_rank"],
        ["input_scale"],
        ["hadamard", "low_rank"],
        ["hadamard", "low_rank", "input_scale"],
    ],
    ids=lambda names: "+".join(names) or "none",
)
def test_the_documented_reader_and_the_library_restore_the_same_weights(
    transforms: list[str], tiny_int4: Path
) -> None:
    row = transformed(tiny_int4, transforms)
    with load_quantized(tiny_int4) as model:
        tensor = model[WEIGHT]
        restored = tensor.dequantize()
        expected = documented_reader()(row, row)
        if "low_rank" in transforms:  # numpy adds the products in an order of its own
            np.testing.assert_allclose(restored, expected, rtol=0, atol=1e-6)
        else:
            np.testing.assert_array_equal(restored, expected)
        np.testing.assert_array_equal(tensor.dequantize("float16"), restored.astype(np.float16))
        assert tensor.transforms == tuple(transforms)
        assert tensor.hadamard_block == (64 if "hadamard" in transforms else 0)
        scale = SCALE if "input_scale" in transforms else SCALE[:0]
        np.testing.assert_array_equal(tensor.input_scale, scale)
        assert tensor.input_scale.dtype == np.float32
        if "low_rank" in transforms:
            assert tensor.low_rank is not None
            np.testing.assert_array_equal(tensor.low_rank[0], from_bf16(U))
            np.testing.assert_array_equal(tensor.low_rank[1], from_bf16(V))
        else:
            assert tensor.low_rank is None


def test_a_tensor_without_extras_has_none(tiny_int4: Path) -> None:
    with load_quantized(tiny_int4) as model:
        assert model.time_groups() is None
        for tensor in model.values():
            rows = tensor.shape[0] if len(tensor.shape) > 1 else 1
            assert (tensor.transforms, tensor.hadamard_block) == ((), 0)
            assert (tensor.low_rank, tensor.activation) == (None, None)
            assert tensor.input_scale.shape == (0,)
            assert tensor.bias_corrections.shape == (0, rows)
            assert tensor.bias_corrections.dtype == np.float16
    assert "extras" not in (tiny_int4 / "manifest.json").read_text()


def test_revised_values_come_back(tiny_int4: Path) -> None:
    before = {n: t.dequantize() for n, t in load_quantized(tiny_int4).items()}
    revise(
        tiny_int4,
        time_groups=json.dumps(GROUPS),
        bias={WEIGHT: bias(3), PLAIN: bias(1, 128)},
        activations={WEIGHT: activation(3), PLAIN: activation(1, "dynamic", 4)},
    )
    with load_quantized(tiny_int4) as model:
        np.testing.assert_array_equal(model[WEIGHT].bias_corrections, bias(3))
        np.testing.assert_array_equal(model[PLAIN].bias_corrections, bias(1, 128))
        for name, (bits, mode, *arrays) in {
            WEIGHT: activation(3),
            PLAIN: activation(1, "dynamic", 4),
        }.items():
            found = model[name].activation
            assert found is not None
            assert (found.bits, found.mode) == (bits, mode)
            for actual, expected in zip(
                (found.clip, found.scale, found.zero_point), arrays, strict=True
            ):
                np.testing.assert_array_equal(actual, expected)
                assert actual.dtype == np.float32
        assert model.time_groups() == TimeGroups.from_json(json.dumps(GROUPS))
        assert model.manifest["required_features"] == [
            "activation_quantization",
            "bias_corrections",
        ]
        for name, tensor in model.items():
            np.testing.assert_array_equal(tensor.dequantize(), before[name])
        with pytest.raises(ConfigurationError, match="no component 'unet'"):
            model.time_groups("unet")


def test_an_inspection_tells_of_extras_and_time_groups(tiny_int4: Path) -> None:
    (plain,) = inspect_model(tiny_int4)["components"]
    assert plain["time_groups"] is None
    revise(
        tiny_int4,
        time_groups=json.dumps(GROUPS),
        bias={WEIGHT: bias(3)},
        activations={WEIGHT: activation(1)},
    )
    inspection = inspect_model(tiny_int4)
    (component,) = inspection["components"]
    assert component["time_groups"] == GROUPS
    extras = {layer["name"]: layer["extras"] for layer in inspection["layers"]}
    assert extras.pop(WEIGHT) == {
        "transforms": [],
        "hadamard_block": 0,
        "rank": 0,
        "bias_groups": 3,
        "act_bits": 8,
        "act_mode": "static",
        "act_groups": 1,
    }
    assert set(extras.values()) == {None}


def test_a_timestep_has_a_group() -> None:
    groups = TimeGroups.from_json(json.dumps(GROUPS))
    assert len(groups) == 3
    assert [groups.group_of(t) for t in (1e9, 700, 699.9, 300, 299, -1)] == [0, 0, 1, 1, 2, 2]
    rising = TimeGroups.from_json(
        json.dumps(GROUPS | {"timesteps": [0.0, 0.5, 1.0], "boundaries_timestep": [0.25, 0.75]})
    )
    assert [rising.group_of(t) for t in (0, 0.25, 0.3, 0.75, 2)] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"bias": {"nowhere": bias(1)}}, ConfigurationError, "'nowhere': the component"),
        ({"bias": {"mask": bias(1, 1)}}, ConfigurationError, "'mask': it was kept"),
        ({"bias": {WEIGHT: bias(1, 255)}}, ShapeMismatchError, "255 values, expected 1 groups"),
        ({"bias": {WEIGHT: bias(2)}}, ShapeMismatchError, "2 groups of timesteps, expected 1"),
        ({"bias": {WEIGHT: bias(1).astype(np.float32)}}, ShapeMismatchError, "float16 array"),
        ({"bias": {WEIGHT: bias(1)[0]}}, ShapeMismatchError, "of 2 axes"),
        ({"bias": {WEIGHT: bias(1) * np.float16(np.nan)}}, ConfigurationError, "not finite"),
        ({"activations": {WEIGHT: activation(1, "odd")}}, ConfigurationError, "'odd'"),
        ({"activations": {WEIGHT: activation(1, bits=5)}}, ConfigurationError, "act_bits is 5"),
        ({"time_groups": "{}"}, MetadataError, "time groups"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    arguments: dict[str, Any], error: type[ArrowQuantError], message: str, tiny_int4: Path
) -> None:
    before = digests(tiny_int4)
    with pytest.raises(error, match=re.escape(message)):
        revise(tiny_int4, **arguments)
    assert digests(tiny_int4) == before


def test_values_that_are_set_can_be_removed(tiny_int4: Path, tmp_path: Path) -> None:
    before = digests(tiny_int4)
    revise(tiny_int4, tmp_path / "out", json.dumps(GROUPS), {WEIGHT: bias(3)})
    assert digests(tiny_int4) == before
    revise(tmp_path / "out", time_groups="", bias={WEIGHT: None})
    assert digests(tmp_path / "out") == before


def test_a_manifest_that_needs_an_unknown_feature_is_refused(tiny_int4: Path) -> None:
    manifest = json.loads((tiny_int4 / "manifest.json").read_text())
    manifest["required_features"] = ["hadamard", "sparse"]
    (tiny_int4 / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(QuantizationError, match="'sparse'"):
        load_quantized(tiny_int4)


def test_a_part_and_a_manifest_that_disagree_are_refused(tiny_int4: Path) -> None:
    transformed(tiny_int4, ["hadamard"])
    manifest = json.loads((tiny_int4 / "manifest.json").read_text())
    for record in manifest["components"][0]["tensors"]:
        record.pop("extras", None)
    (tiny_int4 / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MetadataError, match="other transforms"):
        load_quantized(tiny_int4)
