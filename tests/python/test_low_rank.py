"""quality="high": layers get a low-rank part where their outputs on held-out rows gain by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from arrow_quant_v2 import ArrowQuantError, ArrowQuantV2, DiffusionQuantConfig, load_quantized
from arrow_quant_v2.calibration import collect
from arrow_quant_v2.torch import load_model
from folders import digests
from refine_nets import save

COLS, ROWS = 256, 512
RANK = ROWS * COLS // (48 * (ROWS + COLS))
STEPS = (900.0, 500.0, 100.0)
THIRD_OF_A_BIT = 1 / 3


class Net(torch.nn.Module):  # type: ignore[misc]
    """A layer whose inputs are strong in few directions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.to_q = torch.nn.Linear(COLS, ROWS, bias=False)
        self.mix = torch.randn(COLS // 2, COLS) * torch.logspace(0, -3, COLS // 2)[:, None]

    def inputs(self, seed: int) -> Any:
        generator = torch.Generator().manual_seed(seed)
        sources = torch.randn(8, 32, COLS // 2, generator=generator)
        return sources @ self.mix + 0.01 * torch.randn(8, 32, COLS, generator=generator)

    def forward(self, x: Any, timestep: float) -> Any:
        return self.to_q(x)


@pytest.fixture(scope="module")
def net() -> Net:
    return Net().eval()


@pytest.fixture(scope="module")
def model(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(net, tmp_path_factory.mktemp("net") / "model")


def collected(net: Net, out: Path, **options: Any) -> Path:
    calls = [{"x": net.inputs(int(t)), "timestep": t} for t in STEPS]
    collect(net, calls, out=out, keep_inputs=False, **options)
    return out


@pytest.fixture(scope="module")
def calibration(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collected(net, tmp_path_factory.mktemp("data") / "calibration.parquet")


@pytest.fixture(scope="module")
def quantize(model: Path, calibration: Path) -> Callable[..., dict[str, Any]]:
    def run(output: Path, **options: Any) -> dict[str, Any]:
        chosen = {"bit_width": 2, "group_size": 64, "min_accuracy": 0.0, "quality": "high"}
        config = DiffusionQuantConfig(**(chosen | {"calibration_path": str(calibration)} | options))
        result: dict[str, Any] = ArrowQuantV2().quantize_diffusion_model(model, output, config)
        return result

    return run


def output_error(net: Net, output: Path) -> float:
    """The relative error of the layer's output on inputs that took no part."""
    restored = load_quantized(output)["to_q.weight"].dequantize().astype(np.float64)
    x = net.inputs(12345).reshape(-1, COLS).numpy().astype(np.float64)
    weight = net.to_q.weight.detach().numpy().astype(np.float64)
    return float((((weight - restored) @ x.T) ** 2).sum() / ((weight @ x.T) ** 2).sum())


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("compensation", ["auto", "off"])
def test_outputs_gain_by_a_low_rank_part(
    bits: int, compensation: str, net: Net, quantize: Callable[..., Any], tmp_path: Path
) -> None:
    options = {"bit_width": bits, "compensation": compensation}
    standard = quantize(tmp_path / "standard", quality="standard", **options)
    high = quantize(tmp_path / "high", **options)
    assert high["low_rank_applied"] and high["low_rank_reason"] == ""
    assert not standard["low_rank_applied"]
    assert standard["low_rank_reason"] == 'quality is "standard"'
    assert output_error(net, tmp_path / "high") < 0.9 * output_error(net, tmp_path / "standard")
    more = high["bits_per_weight"] - standard["bits_per_weight"]
    assert 0 < more < THIRD_OF_A_BIT + 0.01
    (layer,) = high["layers"]
    assert layer["extras"]["rank"] == RANK


def test_the_result_lists_what_was_tried_and_the_least_error_is_taken(
    quantize: Callable[..., Any], tmp_path: Path
) -> None:
    result = quantize(tmp_path / "out", rotation="off")
    (layer,) = result["layers"]
    errors = {trial["name"]: trial["error"] for trial in layer["trials"]}
    without = [name for name in errors if "low rank" not in name]
    assert without == ["mse", "mse+importance", "gptq", "gptq+importance"]
    ranks = [name.split(", ") for name in errors if "low rank" in name]
    assert [name for _, name in ranks] == [
        f"low rank {RANK}",
        f"low rank {RANK}",
        f"for low rank {RANK}",
    ]
    assert ranks[0][0].startswith("mse") and ranks[1][0].startswith("gptq")
    accepted = [trial["name"] for trial in layer["trials"] if trial["accepted"]]
    assert accepted == [layer["method"]] == [min(errors, key=errors.__getitem__)]
    assert layer["output_sqnr_db"] == pytest.approx(-10 * np.log10(errors[layer["method"]]))
    table = pq.read_table(tmp_path / "out" / "quantized-00001-of-00001.parquet")
    assert table.column("method").to_pylist() == [layer["method"]]
    assert table.column("transforms").to_pylist() == [["low_rank"]]
    tensor = load_quantized(tmp_path / "out")["to_q.weight"]
    assert [part.shape for part in tensor.low_rank] == [(ROWS, RANK), (RANK, COLS)]


def test_a_running_layer_multiplies_by_the_weight_that_is_restored(
    net: Net, quantize: Callable[..., Any], tmp_path: Path
) -> None:
    quantize(tmp_path / "out")
    restored = load_quantized(tmp_path / "out")["to_q.weight"].dequantize()
    loaded = load_model(Net().eval(), tmp_path / "out")
    x = net.inputs(7)
    with torch.no_grad():
        expected = x @ torch.from_numpy(restored).T
        torch.testing.assert_close(loaded(x, 500.0), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bits", [4, 8])
def test_the_low_rank_part_sees_the_inputs_before_they_are_quantized(
    bits: int, net: Net, quantize: Callable[..., Any], tmp_path: Path
) -> None:
    result = quantize(tmp_path / "out", activation_bits=bits, compensation="off")
    (layer,) = result["layers"]
    assert layer["extras"]["rank"] == RANK and layer["extras"]["act_bits"] == bits
    loaded = load_model(Net().eval(), tmp_path / "out")
    x = net.inputs(12345)
    with torch.no_grad():
        reference = net.to_q(x)
        error = loaded(x, 500.0) - reference
    # What was judged on held-out rows is what a running layer does, on other rows of its kind.
    measured = float((error**2).sum() / (reference**2).sum())
    errors = {trial["name"]: trial["error"] for trial in layer["trials"]}
    assert measured == pytest.approx(errors[layer["method"]], rel=0.35)


def test_low_ranks_are_the_same_for_any_number_of_threads(
    quantize: Callable[..., Any], tmp_path: Path
) -> None:
    for threads in (1, 3):
        quantize(tmp_path / str(threads), num_threads=threads)
    assert digests(tmp_path / "1") == digests(tmp_path / "3")


def test_layers_that_are_good_enough_with_a_low_rank_keep_their_bits(
    quantize: Callable[..., Any], tmp_path: Path
) -> None:
    plain = quantize(tmp_path / "plain", compensation="off", quality="standard")
    high = quantize(tmp_path / "high", compensation="off")
    errors = [10 ** (-result["layers"][0]["output_sqnr_db"] / 10) for result in (plain, high)]
    between = {"compensation": "off", "min_accuracy": float(np.sqrt(1 - np.mean(errors)))}
    assert len(quantize(tmp_path / "more", quality="standard", **between)["promotions"]) == 1
    assert quantize(tmp_path / "same", **between)["promotions"] == []


def test_another_quality_is_another_model(quantize: Callable[..., Any], tmp_path: Path) -> None:
    quantize(tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["options"]["quality"] == "high"
    assert "low_rank" in manifest["required_features"]
    with pytest.raises(ArrowQuantError, match="was made with another quality"):
        quantize(tmp_path / "out", quality="standard")


def test_what_stands_in_the_way_of_low_ranks_is_said(
    net: Net, quantize: Callable[..., Any], tmp_path: Path
) -> None:
    without = collected(net, tmp_path / "no-squares.parquet", hessian=False)
    serves = (
        "it serves layers of 2 or 4 bits with XᵀX in the calibration data, within the memory limit"
    )
    cases = [
        ({"calibration_path": None}, "no calibration data"),
        ({"calibration_path": str(without)}, serves),
        ({"bit_width": 8}, serves),
        (
            {"target_bits_per_weight": 4.6},
            "bits are shared out by size, which its bytes would exceed",
        ),
    ]
    for i, (options, reason) in enumerate(cases):
        result = quantize(tmp_path / str(i), **options)
        assert result["low_rank_reason"] == reason
        assert not result["low_rank_applied"]
        assert f'quality = "high" had no effect: {reason}' in result["warnings"]
        assert not any("low rank" in trial["name"] for trial in result["layers"][0]["trials"])


def test_layers_whose_errors_do_not_fit_the_memory_limit_are_named(tmp_path: Path) -> None:
    net = torch.nn.Module()
    net.to_q = torch.nn.Linear(1024, 1024, bias=False)
    net.forward = lambda x, timestep: net.to_q(x)
    torch.manual_seed(0)
    calls = [{"x": torch.randn(8, 32, 1024), "timestep": t} for t in STEPS]
    collect(net, calls, out=tmp_path / "c.parquet", keep_inputs=False)
    model = save(net, tmp_path / "model")
    options = {"quality": "high", "calibration_path": str(tmp_path / "c.parquet")}
    config = DiffusionQuantConfig(
        bit_width=4, enable_streaming=True, max_memory_limit_mb=80, **options
    )
    result = ArrowQuantV2().quantize_diffusion_model(model, tmp_path / "out", config)
    assert any(
        "so that no low rank is tried; raise max_memory_limit_mb; the first is 'to_q.weight'" in w
        for w in result["warnings"]
    )
