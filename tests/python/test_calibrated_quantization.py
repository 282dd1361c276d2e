"""Quantizing with calibration data: what is tried, what is taken, and that outputs gain by it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from arrow_quant_v2 import (
    ArrowQuantError,
    ArrowQuantV2,
    DiffusionQuantConfig,
    load_quantized,
)
from arrow_quant_v2.calibration import collect
from arrow_quant_v2.torch import load_model
from folders import digests
from tiny import write_safetensors

WIDTH = 256
TRAJECTORIES = 8
STEPS = (900.0, 500.0, 100.0)


class Net(torch.nn.Module):  # type: ignore[misc]
    """Two layers with the same input, whose columns differ in power and lean on each other."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.to_q = torch.nn.Linear(WIDTH, 128)
        self.to_k = torch.nn.Linear(WIDTH, 128)
        self.mix = torch.randn(WIDTH // 2, WIDTH) * torch.logspace(-1, 1, WIDTH)

    def inputs(self, seed: int) -> Any:
        generator = torch.Generator().manual_seed(seed)
        sources = torch.randn(TRAJECTORIES, 16, WIDTH // 2, generator=generator)
        return sources @ self.mix + 0.1 * torch.randn(TRAJECTORIES, 16, WIDTH, generator=generator)

    def forward(self, x: Any, timestep: float) -> Any:
        return self.to_q(x) + self.to_k(x) * (1 + timestep / 1000)


@pytest.fixture(scope="module")
def net() -> Net:
    return Net().eval()


@pytest.fixture(scope="module")
def model(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("net")
    tensors = {
        f"{name}.weight": ("F32", getattr(net, name).weight.detach().numpy())
        for name in ("to_q", "to_k")
    }
    write_safetensors(folder / "model.safetensors", tensors)
    return folder


@pytest.fixture(scope="module")
def calibration(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "calibration.parquet"
    calls = [{"x": net.inputs(int(t)), "timestep": t} for t in STEPS]
    collect(net, calls, out=out, keep_inputs=False)
    return out


def quantize(model: Path, output: Path, **options: Any) -> dict[str, Any]:
    chosen = {"bit_width": 4, "group_size": 64, "min_accuracy": 0.0} | options
    config = DiffusionQuantConfig(**chosen)
    result: dict[str, Any] = ArrowQuantV2().quantize_diffusion_model(model, output, config)
    return result


def output_error(net: Net, output: Path) -> float:
    """The relative error of to_q's output on inputs that took no part."""
    restored = load_quantized(output)["to_q.weight"].dequantize()
    x = net.inputs(12345).reshape(-1, WIDTH).numpy().astype(np.float64)
    weight = net.to_q.weight.detach().numpy().astype(np.float64)
    error = x @ (weight - restored).T
    return float((error**2).sum() / ((x @ weight.T) ** 2).sum())


@pytest.mark.parametrize("bits", [2, 4])
def test_outputs_gain_where_codes_make_up_for_each_other(
    bits: int, net: Net, model: Path, calibration: Path, tmp_path: Path
) -> None:
    quantize(model, tmp_path / "plain", bit_width=bits)
    result = quantize(
        model, tmp_path / "calibrated", bit_width=bits, calibration_path=str(calibration)
    )
    assert output_error(net, tmp_path / "calibrated") < 0.5 * output_error(net, tmp_path / "plain")
    assert result["calibration"] == str(calibration)
    assert all("gptq" in layer["method"] for layer in result["layers"])


def test_the_result_lists_what_was_tried_and_the_error_of_each(
    model: Path, calibration: Path, tmp_path: Path
) -> None:
    result = quantize(model, tmp_path / "out", calibration_path=str(calibration))
    for layer in result["layers"]:
        errors = {trial["name"]: trial["error"] for trial in layer["trials"]}
        assert list(errors) == ["mse", "mse+importance", "gptq", "gptq+importance"]
        accepted = [trial["name"] for trial in layer["trials"] if trial["accepted"]]
        assert accepted == [layer["method"]] == [min(errors, key=errors.__getitem__)]
        assert layer["output_sqnr_db"] == pytest.approx(-10 * np.log10(errors[layer["method"]]))
    table = pq.read_table(tmp_path / "out" / "quantized-00001-of-00001.parquet")
    stored = table.column("output_sqnr_db").to_pylist()
    assert stored == pytest.approx([layer["output_sqnr_db"] for layer in result["layers"]])


def test_without_data_nothing_is_tried(model: Path, tmp_path: Path) -> None:
    result = quantize(model, tmp_path / "out")
    assert result["calibration"] == "none"
    for layer in result["layers"]:
        assert (layer["method"], layer["trials"], layer["output_sqnr_db"]) == ("mse", [], None)


def test_compensation_can_be_left_out_for_all_or_some(
    model: Path, calibration: Path, tmp_path: Path
) -> None:
    path = str(calibration)
    off = quantize(model, tmp_path / "off", calibration_path=path, compensation="off")
    assert all("gptq" not in layer["method"] for layer in off["layers"])
    some = quantize(
        model, tmp_path / "some", calibration_path=path, modules_to_not_compensate=["to_k"]
    )
    compensated = {layer["name"]: "gptq" in layer["method"] for layer in some["layers"]}
    assert compensated == {"to_q.weight": True, "to_k.weight": False}


def deployed_error(net: Any, output: Path) -> float:
    """The relative error of the outputs when the model runs, on inputs that took no part."""
    x = net.inputs(12345)
    with torch.no_grad():
        expected = net(x, 500.0)
        got = load_model(copy.deepcopy(net), output, strict=False)(x, 500.0)
    return float(((got - expected) ** 2).sum() / (expected**2).sum())


def test_inputs_of_four_bits_gain_by_smoothing_and_rotation(
    net: Net, model: Path, calibration: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"activation_bits": 4, "calibration_path": str(calibration)}
    without = quantize(model, tmp_path / "without", enable_spatial=False, **options)
    result = quantize(model, tmp_path / "with", **options)
    assert deployed_error(net, tmp_path / "with") < 0.5 * deployed_error(net, tmp_path / "without")
    assert (result["spatial_applied"], result["spatial_reason"]) == (True, "")
    assert (without["spatial_applied"], without["spatial_reason"]) == (
        False,
        "enable_spatial is off",
    )
    for layer in result["layers"]:
        assert layer["extras"]["transforms"]
        tensor = load_quantized(tmp_path / "with")[layer["name"]]
        assert tensor.activation is not None
        assert (tensor.activation.bits, tensor.activation.mode) == (4, "dynamic")


class ConvolutionNet(torch.nn.Module):  # type: ignore[misc]
    """A convolution of inputs whose channels differ in power."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(32, 64, 3, padding=1)

    def inputs(self, seed: int) -> Any:
        generator = torch.Generator().manual_seed(seed)
        power = torch.logspace(-1, 1, 32)[:, None, None]
        return torch.randn(TRAJECTORIES, 32, 8, 8, generator=generator) * power

    def forward(self, x: Any, timestep: float) -> Any:
        return self.conv(x) * (1 + timestep / 1000)


def test_convolutions_gain_by_them_too(tmp_path: Path) -> None:
    net, model, data = ConvolutionNet().eval(), tmp_path / "model", tmp_path / "data.parquet"
    model.mkdir()
    weight = net.conv.weight.detach().numpy()
    write_safetensors(model / "model.safetensors", {"conv.weight": ("F32", weight)})
    calls = [{"x": net.inputs(int(t)), "timestep": t} for t in STEPS]
    collect(net, calls, out=data, keep_inputs=False)
    options: dict[str, Any] = {"activation_bits": 4, "calibration_path": str(data)}
    quantize(model, tmp_path / "without", enable_spatial=False, **options)
    [layer] = quantize(model, tmp_path / "with", **options)["layers"]
    assert layer["extras"]["transforms"]
    assert deployed_error(net, tmp_path / "with") < 0.8 * deployed_error(net, tmp_path / "without")


def test_a_transform_leaves_the_weight_that_is_read_back_in_place(
    net: Net, model: Path, calibration: Path, tmp_path: Path
) -> None:
    quantize(model, tmp_path / "out", activation_bits=4, calibration_path=str(calibration))
    restored = load_quantized(tmp_path / "out")["to_q.weight"].dequantize()
    weight = net.to_q.weight.detach().numpy()
    # Columns with weak inputs take the errors; without undoing the transform it would be about 2.
    assert np.sum((restored - weight) ** 2) < 0.5 * np.sum(weight**2)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "it serves 2 bit weights and quantized activations"),
        ({"bit_width": 8, "activation_bits": 8, "rotation": "off"}, None),
    ],
)
def test_the_result_says_why_no_transform_was_taken(
    options: dict[str, Any], reason: str | None, model: Path, calibration: Path, tmp_path: Path
) -> None:
    result = quantize(model, tmp_path / "out", calibration_path=str(calibration), **options)
    assert result["spatial_applied"] == (result["spatial_reason"] == "")
    if reason is not None:
        assert result["spatial_reason"] == reason


def test_a_layer_is_judged_by_its_outputs_before_it_gets_more_bits(
    model: Path, calibration: Path, tmp_path: Path
) -> None:
    options = {"bit_width": 2, "min_accuracy": 0.975, "calibration_path": str(calibration)}
    by_outputs = quantize(model, tmp_path / "outputs", **options)
    assert [layer["bit_width"] for layer in by_outputs["layers"]] == [2, 2]
    del options["calibration_path"]
    by_weights = quantize(model, tmp_path / "weights", **options)
    assert [layer["bit_width"] for layer in by_weights["layers"]] == [4, 4]


def test_data_in_the_models_folder_are_found(
    net: Net, model: Path, calibration: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    (folder / "calibration.parquet").write_bytes(calibration.read_bytes())
    result = quantize(folder, tmp_path / "out")
    assert result["calibration"] == str(folder / "calibration.parquet")
    assert not (tmp_path / "out" / "calibration.parquet").exists()


def test_any_number_of_threads_gives_the_same_bytes(
    model: Path, calibration: Path, tmp_path: Path
) -> None:
    for threads in (1, 3):
        out = tmp_path / str(threads)
        quantize(model, out, calibration_path=str(calibration), num_threads=threads)
    assert digests(tmp_path / "1") == digests(tmp_path / "3")


def test_other_data_make_another_model(model: Path, calibration: Path, tmp_path: Path) -> None:
    quantize(model, tmp_path / "out", calibration_path=str(calibration))
    again = quantize(model, tmp_path / "out", calibration_path=str(calibration))
    assert again["up_to_date"]
    with pytest.raises(ArrowQuantError, match="was made with calibration data"):
        quantize(model, tmp_path / "out")


Table = pa.Table
Change = Callable[[Table], Table]


def replaced(table: Table, name: str, values: list[Any]) -> Table:
    at = table.schema.get_field_index(name)
    field = table.schema.field(at)
    return table.set_column(at, field, [pa.array(values, field.type)])


def renamed(table: Table) -> Table:
    names = table.column("layer_name").to_pylist()
    return replaced(
        replaced(table, "layer_name", [f"other.{name}" for name in names]),
        "input_alias",
        [alias and f"other.{alias}" for alias in table.column("input_alias").to_pylist()],
    )


def narrower(table: Table) -> Table:
    halved = [WIDTH // 2] * table.num_rows
    return replaced(replaced(table, "channels", halved), "cols", halved)


def with_nan(table: Table) -> Table:
    lists = table.column("ch_sumsq").to_pylist()
    return replaced(table, "ch_sumsq", [[float("nan")] * len(values) for values in lists])


def with_version(version: int) -> Change:
    def change(table: Table) -> Table:
        entry = json.loads(table.schema.metadata[b"arrow_quant.calibration"])
        entry["format_version"] = version
        return table.replace_schema_metadata({b"arrow_quant.calibration": json.dumps(entry)})

    return change


def powers_only(table: Table) -> Table:
    """What an importance matrix tells: sums of squares, no rows and no products."""
    empty: list[Any] = [[]] * table.num_rows
    for name in ("rows", "row_trajectory", "row_key", "row_masked"):
        table = replaced(table, name, empty)
    counts = [
        n if step >= 0 else 0
        for n, step in zip(
            table.column("n_rows").to_pylist(), table.column("step").to_pylist(), strict=True
        )
    ]
    return replaced(replaced(table, "xtx", [b""] * table.num_rows), "n_rows", counts)


def rewritten(calibration: Path, change: Change, path: Path) -> Path:
    file = pq.ParquetFile(calibration)
    groups = [change(file.read_row_group(i)) for i in range(file.num_row_groups)]
    groups = [
        group.replace_schema_metadata(change(file.read()).schema.metadata) for group in groups
    ]
    with pq.ParquetWriter(path, groups[0].schema) as writer:
        for group in groups:
            writer.write_table(group)
    return path


REFUSED: dict[str, tuple[Change, str]] = {
    "another model": (renamed, "none of its 2 layers is in the model"),
    "another width": (
        narrower,
        "'to_q.weight' has inputs of 128 values, the model's weight has 256",
    ),
    "not finite": (with_nan, "'to_q.weight', step 0: ch_sumsq holds nan"),
    "a newer format": (with_version(2), "has format version 2"),
    "no calibration": (lambda t: t.replace_schema_metadata({}), "not a calibration file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_data_that_do_not_fit_are_refused(
    name: str, model: Path, calibration: Path, tmp_path: Path
) -> None:
    change, message = REFUSED[name]
    path = rewritten(calibration, change, tmp_path / "changed.parquet")
    with pytest.raises(ArrowQuantError, match=message) as refused:
        quantize(model, tmp_path / "out", calibration_path=str(path))
    assert "changed.parquet" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_too_few_rows_are_not_used_and_the_result_says_so(
    net: Net, model: Path, tmp_path: Path
) -> None:
    x = net.inputs(1)[:2, :4]
    collect(net, [{"x": x, "timestep": 500.0}], out=tmp_path / "few.parquet", keep_inputs=False)
    result = quantize(model, tmp_path / "out", calibration_path=str(tmp_path / "few.parquet"))
    assert any("2 layers have fewer than 64 sampled rows" in text for text in result["warnings"])
    assert all(layer["trials"] == [] for layer in result["layers"])


def test_powers_of_inputs_alone_fit_the_grid(
    net: Net, model: Path, calibration: Path, tmp_path: Path
) -> None:
    path = rewritten(calibration, powers_only, tmp_path / "powers.parquet")
    result = quantize(model, tmp_path / "out", calibration_path=str(path), activation_bits=4)
    assert not any("rows" in warning for warning in result["warnings"])
    for layer in result["layers"]:
        assert [trial["name"] for trial in layer["trials"]] == ["mse", "mse+importance"]
        assert layer["method"] == "mse+importance"
    quantize(model, tmp_path / "plain")
    assert output_error(net, tmp_path / "out") < output_error(net, tmp_path / "plain")
