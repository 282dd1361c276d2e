"""Bits shared out under a target: the target holds for the files as FORMAT.md describes them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from arrow_quant_v2 import ArrowQuantV2, ConfigurationError, DiffusionQuantConfig, inspect_model
from program import PROGRAM

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {name: ROOT / "examples" / name / "model" for name in ("byte_mdlm", "digits_dit")}

Result = dict[str, Any]


def quantize(model: str, output: Path, **options: Any) -> Result:
    config = DiffusionQuantConfig(**{"group_size": 64, "min_accuracy": 0.0} | options)
    return ArrowQuantV2().quantize_diffusion_model(EXAMPLES[model], output, config)


def stored_bytes(output: Path) -> dict[str, int]:
    """Bytes of each tensor's data, and of its parameters as compressed, from the parts alone."""
    sizes: dict[str, int] = {}
    for part in output.rglob("*.parquet"):
        file = pq.ParquetFile(part)
        for i in range(file.num_row_groups):
            group = file.metadata.row_group(i)
            chunks = [group.column(leaf) for leaf in range(group.num_columns)]
            params = {c.path_in_schema.split(".")[0]: c.total_compressed_size for c in chunks}
            columns = ["layer_name", "data", "scales", "offsets"]
            for row in file.read_row_group(i, columns).to_pylist():
                size = len(row["data"])
                size += sum(params[name] for name in ("scales", "offsets") if row[name])
                sizes[row["layer_name"]] = sizes.get(row["layer_name"], 0) + size
    return sizes


def choice(layer: Result, quant_type: str) -> Result:
    """What the layer would be at that width, or at the least that a rule leaves it."""
    found = [c for c in layer["choices"] if c["quant_type"] == quant_type]
    chosen: Result = (found or layer["choices"])[0]
    return chosen


@pytest.mark.parametrize("model", EXAMPLES)
@pytest.mark.parametrize("target", [3.0, 4.4, 6.0])
def test_bits_per_weight_hold_for_what_the_parts_store(
    model: str, target: float, tmp_path: Path
) -> None:
    if model == "digits_dit":
        target += 1.5  # a third of its weights are adaLN modulation, at 8 bits
    allocation = quantize(model, tmp_path / "out", target_bits_per_weight=target)["allocation"]
    sizes = stored_bytes(tmp_path / "out")
    bits = 8 * sum(sizes[layer["name"]] for layer in allocation["layers"])
    num_params = sum(layer["num_params"] for layer in allocation["layers"])
    assert bits / num_params == allocation["reached"]
    # What is left over is less than the largest step: two of three matrices of q, k and v from 4
    # to 8 bits, or gate and up from 8 to 16, of 28 layers.
    assert target - 0.7 < allocation["reached"] <= target
    for layer in allocation["layers"]:
        assert sizes[layer["name"]] == layer["choices"][layer["chosen"]]["stored_bytes"]


@pytest.mark.parametrize("model", EXAMPLES)
@pytest.mark.parametrize("megabytes", [1.75, 2.5])
def test_a_size_holds_for_the_part_files(model: str, megabytes: float, tmp_path: Path) -> None:
    if model == "digits_dit":
        megabytes += 0.75  # its embedders are kept
    result = quantize(model, tmp_path / "out", target_size_mb=megabytes)
    size = sum(part.stat().st_size for part in (tmp_path / "out").rglob("*.parquet")) / 1e6
    assert result["allocation"]["reached"] == result["model_size_mb"] == size
    assert 0.93 * megabytes < size <= megabytes


@pytest.mark.parametrize(("model", "target"), [("byte_mdlm", 3.5), ("digits_dit", 4.8)])
def test_errors_are_less_than_those_of_uniform_bits_at_the_same_size(
    model: str, target: float, tmp_path: Path
) -> None:
    """The chord from all at 2 to all at 4 bits is what a blind mixture comes to on average."""
    allocation = quantize(model, tmp_path / "out", target_bits_per_weight=target)["allocation"]

    def uniform(quant_type: str) -> tuple[float, float]:
        chosen = [(layer, choice(layer, quant_type)) for layer in allocation["layers"]]
        return (
            sum(c["stored_bytes"] for _, c in chosen),
            sum(layer["error_weight"] * c["nmse"] for layer, c in chosen),
        )

    (bytes_2, error_2), (bytes_4, error_4) = uniform("int2"), uniform("int4")
    assert bytes_2 < allocation["stored_bytes"] < bytes_4
    share = (allocation["stored_bytes"] - bytes_2) / (bytes_4 - bytes_2)
    assert allocation["weighted_error"] < (1 - share) * error_2 + share * error_4


def test_every_layer_says_why_it_has_its_bits(tmp_path: Path) -> None:
    result = quantize(
        "byte_mdlm",
        tmp_path / "out",
        target_bits_per_weight=5.5,
        min_accuracy=0.95,
        layer_bit_widths={r"layers\.0\..*down_proj": 8},
    )
    reasons = {layer["name"]: layer["reason"] for layer in result["layers"]}
    asked = r"layer_bit_widths: layers\.0\..*down_proj = 8"
    assert reasons["model.layers.0.mlp.down_proj.weight"] == asked
    for layer in result["allocation"]["layers"]:
        chosen = layer["choices"][layer["chosen"]]
        assert chosen["allowed"]
        assert (chosen["quant_type"], chosen["bit_width"]) == (
            layer["quant_type"],
            layer["bit_width"],
        )
        assert all(c["allowed"] or c["quant_type"] in layer["rule"] for c in layer["choices"][:-1])
        assert layer["gain_per_byte"] is not None or layer["chosen"] == 0 or layer["rule"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["allocation"] == result["allocation"]


def test_what_cannot_be_reached_is_refused_with_what_can(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"target_bits_per_weight = 2: the least possible"):
        quantize("byte_mdlm", tmp_path / "out", target_bits_per_weight=2)
    with pytest.raises(ConfigurationError, match=r"target_size_mb = 0\.5: the least possible is 1"):
        quantize("byte_mdlm", tmp_path / "out", target_size_mb=0.5)
    with pytest.raises(ConfigurationError, match="only one of the two"):
        quantize("byte_mdlm", tmp_path / "out", target_size_mb=2, target_bits_per_weight=4)
    with pytest.raises(ConfigurationError, match=r"layer_bit_widths: '\(' is no ECMAScript"):
        quantize("byte_mdlm", tmp_path / "out", layer_bit_widths={"(": 4})
    assert not (tmp_path / "out").exists()


def test_the_command_line_takes_patterns_and_targets(tmp_path: Path) -> None:
    command = [PROGRAM, "quantize", EXAMPLES["byte_mdlm"], tmp_path / "out", "--group-size", "64"]
    command += ["--layer-bits", r"layers\.0\.=8", "--layer-bits", r"\.o_proj$=16"]
    command += ["--target-bpw", "7", "--min-accuracy", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "  target            7.000 bits per weight, 6." in done.stdout
    layers = {
        layer["name"]: layer["quant_type"] for layer in inspect_model(tmp_path / "out")["layers"]
    }
    assert layers["model.layers.0.self_attn.o_proj.weight"] == "int8"
    assert layers["model.layers.1.self_attn.o_proj.weight"] == "none"


def test_the_plan_of_a_target_says_that_it_is_the_least() -> None:
    config = DiffusionQuantConfig(target_bits_per_weight=4)
    plan = inspect_model(EXAMPLES["byte_mdlm"], config)
    assert "shown are the fewest" in plan["warnings"][0]
    assert {layer["quant_type"] for layer in plan["layers"]} == {"int2", "none"}
