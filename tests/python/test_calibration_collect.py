"""collect() with inputs: what the file says is what plain float64 arithmetic says."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arrow_quant_v2 import ConfigurationError, QuantizationError
from arrow_quant_v2.calibration import collect, read
from arrow_quant_v2.calibration.histogram import BINS, bin_of, count, count_array, edges
from calibration_nets import calibrating, calls, convs, inputs_of, mlp


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "calibration.parquet"


def collected(out: Path, model: Any = None, **options: Any) -> Any:
    result = collect(model or mlp(), list(calls()), out=out, **options)
    return result, read(out)


def test_the_layers_are_those_that_quantizing_takes(out: Path) -> None:
    result, data = collected(out)
    assert data.layers == ["time.weight", "to_q.weight", "to_k.weight", "out.weight"]
    assert (result["num_layers"], result["num_calls"], result["num_trajectories"]) == (4, 6, 8)
    assert not list(out.parent.glob(".*"))


def test_the_metadata_are_those_of_the_run(out: Path) -> None:
    _, data = collected(out, seed=3, component="transformer", beta_schedule="linear")
    metadata = data.metadata
    assert metadata["component"] == "transformer"
    assert metadata["model_class"] == "Mlp"
    assert metadata["seed"] == 3
    assert metadata["validation"] == {"every": 4, "remainder": 1}
    assert metadata["guidance_branches"] == 1
    assert [step["timestep"] for step in data.time_axis] == [900, 500, 100]
    snr = [step["log_snr"] for step in data.time_axis]
    assert snr == sorted(snr)
    abar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[[900, 500, 100]]
    assert snr == pytest.approx(np.log(abar / (1 - abar)))


def test_sums_and_extremes_are_those_of_float64(out: Path) -> None:
    _, data = collected(out)
    seen = inputs_of(mlp().eval(), "to_q", list(calls()))
    layer = data["to_q.weight"]
    for step in range(3):
        first, second = seen[step], seen[step + 3]
        x = torch.cat([first[calibrating(range(4))], second[calibrating(range(4, 8))]])
        x = x.reshape(-1, 512).numpy()
        got = layer.steps[step]
        assert got.n_rows == len(x)
        np.testing.assert_array_equal(got.ch_min, x.min(0).astype(np.float32))
        np.testing.assert_array_equal(got.ch_max, x.max(0).astype(np.float32))
        np.testing.assert_allclose(got.ch_sum, x.sum(0), rtol=1e-6, atol=1e-5)
        np.testing.assert_allclose(got.ch_sumsq, (x * x).sum(0), rtol=1e-6)
        assert got.histogram.sum() == x.size


def test_xtx_is_the_sum_over_all_steps(out: Path) -> None:
    result, data = collected(out)
    seen = inputs_of(mlp().eval(), "out", list(calls()))
    x = torch.cat([s[calibrating(range(i // 3 * 4, i // 3 * 4 + 4))] for i, s in enumerate(seen)])
    x = x.reshape(-1, 64).numpy()
    layer = data["out.weight"]
    assert layer.xtx_rows == len(x)
    np.testing.assert_allclose(layer.xtx, x.T @ x, rtol=1e-4, atol=1e-4)
    cols = [32, 512, 64]  # to_k has the input of to_q
    assert result["hessian_bytes"] == sum(2 * n * (n + 1) for n in cols)


def test_without_hessian_there_is_no_xtx(out: Path) -> None:
    result, data = collected(out, hessian=False)
    assert result["hessian_bytes"] == 0
    assert data["out.weight"].xtx is None
    assert not data.metadata["hessian"]


def test_layers_with_the_same_tensor_are_collected_once(out: Path, tmp_path: Path) -> None:
    result, data = collected(out)
    assert data.aliases == {"to_k.weight": "to_q.weight"}
    assert result["num_aliases"] == 1
    _, apart = collected(tmp_path / "apart.parquet", share_inputs=False)
    assert apart.aliases == {}
    np.testing.assert_array_equal(apart["to_k.weight"].xtx, data["to_k.weight"].xtx)


def test_held_out_trajectories_are_in_the_samples_alone(out: Path) -> None:
    _, data = collected(out, rows_per_step=100, validation_rows_per_step=100)
    seen = inputs_of(mlp().eval(), "to_q", list(calls()))
    for step, got in data["to_q.weight"].steps.items():
        assert sorted(set(got.row_trajectory.tolist())) == list(range(8))
        assert got.n_rows == 6 * 6
        assert len(got.rows) == 8 * 6
        for held_out in (1, 5):
            rows = got.rows[got.row_trajectory == held_out]
            want = seen[step + 3 * (held_out // 4)][held_out % 4].to(torch.float16)
            assert {r.tobytes() for r in rows} == {r.tobytes() for r in want.numpy()}


def test_samples_hold_the_smallest_keys_in_their_order(out: Path, tmp_path: Path) -> None:
    _, data = collected(out)
    _, everything = collected(
        tmp_path / "all.parquet", rows_per_step=100, validation_rows_per_step=100
    )
    for step, got in data["to_q.weight"].steps.items():
        held_out = got.row_trajectory % 4 == 1
        assert (held_out.sum(), (~held_out).sum()) == (8, 16)
        assert (np.diff(got.row_key.astype(object)) > 0).all()
        complete = everything["to_q.weight"].steps[step]
        keys = complete.row_key[complete.row_trajectory % 4 != 1]
        np.testing.assert_array_equal(got.row_key[~held_out], keys[:16])


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        collected(tmp_path / name, seed=seed)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1] != files[2]


def test_patches_and_xtx_of_convolutions_are_those_of_unfold(out: Path) -> None:
    model = convs()
    x = torch.randn((3, 32, 7, 6), generator=torch.Generator().manual_seed(2))
    given = [{"x": x, "timestep": 5}]
    collect(model, given, out=out, rows_per_step=10**4, validation_rows_per_step=10**4)
    data = read(out)
    assert data.layers == ["one.weight", "two.weight", "same.weight", "three.weight"]
    for name in ("one", "two", "same", "three"):
        module = model.get_submodule(name)
        (input_,) = inputs_of(model, name, given)
        patches = plain_patches(module, input_)
        layer = data[f"{name}.weight"]
        assert (layer.channels, layer.cols) == (module.in_channels, module.weight[0].numel())
        matrix = patches[calibrating(range(3))].reshape(-1, layer.cols).numpy()
        np.testing.assert_allclose(layer.xtx, matrix.T @ matrix, rtol=1e-4, atol=2e-4)
        got = layer.steps[0]
        assert got.n_rows == 2 * input_[0, 0].numel()
        want = {r.tobytes() for r in patches.reshape(-1, layer.cols).half().numpy()}
        assert {r.tobytes() for r in got.rows} == want


def plain_patches(module: Any, x: Any) -> Any:
    """[batch, positions, cols], by the convolution of all unit kernels."""
    cols = module.weight[0].numel()
    kernels = torch.eye(cols, dtype=torch.float64).reshape(cols, *module.weight.shape[1:])
    convolve = getattr(torch.nn.functional, f"conv{x.dim() - 2}d")
    return (
        convolve(x, kernels, None, module.stride, module.padding, module.dilation)
        .flatten(2)
        .transpose(1, 2)
    )


def test_a_convolution_sums_a_bounded_number_of_positions(out: Path) -> None:
    model = torch.nn.Conv2d(32, 64, 3, padding=1)
    x = torch.randn((4, 32, 48, 48))
    collect(model, [{"input": x}], out=out)
    layer = read(out)["weight"]
    assert layer.xtx_rows == 4096
    assert layer.steps[0].n_rows == 3 * 48 * 48
    mean = torch.diagonal(torch.from_numpy(layer.xtx))[4::9] / 4096
    assert float((mean - 1).abs().max()) < 0.15


@pytest.mark.parametrize(
    ("x", "lower"),
    [(0.0, 0), (2.0**-25, 0), (2.0**-24, 2.0**-24), (1.0, 1.0), (1.99, 1.9375), (-3.0, 3.0)],
)
def test_a_bin_contains_its_numbers(x: float, lower: float) -> None:
    assert edges(bin_of(x))[0] == lower
    assert (bin_of(x) > 768) == (x > 2.0**-25)
    assert bin_of(-x) == 1536 - bin_of(x)


def test_all_bins_are_counted_where_their_numbers_are() -> None:
    x = (
        torch.randn(4000, generator=torch.Generator().manual_seed(0))
        * 2.0 ** torch.arange(-30, 30).repeat(67)[:4000]
    )
    want = np.bincount([bin_of(value) for value in x.tolist()], minlength=BINS)
    np.testing.assert_array_equal(count(x), want)
    np.testing.assert_array_equal(count_array(x.numpy()), want)
    assert bin_of(1e30) == 1536


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_models_are_collected(out: Path, dtype: str) -> None:
    kind = getattr(torch, dtype)
    given = [{"x": c["x"].to(kind), "timestep": c["timestep"]} for c in calls()]
    collect(mlp().to(kind), given, out=out)
    half = read(out)["to_q.weight"].steps[0]
    collect(mlp(), list(calls()), out=out)
    full = read(out)["to_q.weight"].steps[0]
    assert half.n_rows == full.n_rows
    np.testing.assert_allclose(half.ch_sumsq, full.ch_sumsq, rtol=0.05)


def test_values_beyond_half_precision_are_clamped(out: Path) -> None:
    layer = torch.nn.Linear(512, 64)
    collect(layer, [{"input": torch.full((4, 2, 512), 1e6)}], out=out)
    assert set(read(out)["weight"].steps[0].rows.ravel().tolist()) == {65504.0}


def test_a_value_that_is_not_finite_names_layer_and_time(out: Path) -> None:
    given = list(calls())
    given[4]["x"][1, 2, 3] = float("nan")
    with pytest.raises(QuantizationError, match=r"'to_q.weight' has NaN .* call 4 .* \[500.0\]"):
        collect(mlp(), given, out=out)
    assert not out.exists()


def test_the_model_is_left_as_it_was(out: Path) -> None:
    model = mlp()
    collected(out, model)
    assert model.training
    assert not model._forward_pre_hooks and not model.to_q._forward_pre_hooks
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"inputs": None}, "0 of them are given"),
        ({"sampler": print}, "2 of them are given"),
        ({"rows_per_step": 0}, "rows_per_step = 0"),
        ({"layers": ["("]}, "no regular expression"),
        ({"layers": ["nowhere"]}, "no layer to collect"),
        ({"layers": "to_q"}, r"give a list of regular expressions, \['to_q'\]"),
        ({"inputs": []}, "not called once"),
        ({"guidance_branches": 3}, "does not divide"),
        ({"beta_schedule": "quadratic"}, "allowed are 'linear' and 'cosine'"),
        ({"out": "no/such/folder/c.parquet"}, "make it first"),
        ({"inputs": [1]}, "call 0 in inputs is of type int: give a dictionary"),
        ({"inputs": [*calls(), ("x",)]}, "call 6 in inputs is of type tuple: give a dictionary"),
        ({"prompts": ["a cat"]}, "prompts are for pipelines, and model is a "),
        ({"model": None}, "model is None: pass the network itself"),
        ({"model": "path/to/model"}, "model is 'path/to/model': pass the network itself"),
        ({"model": torch.nn.Linear}, "model is the class Linear: pass the network itself"),
    ],
)
def test_what_cannot_be_meant_is_an_error(out: Path, options: dict[str, Any], words: str) -> None:
    arguments = {"model": mlp(), "inputs": list(calls()), "out": out} | options
    with pytest.raises(ConfigurationError, match=words):
        collect(**arguments)


def test_layers_can_be_chosen_by_name_and_by_function(out: Path) -> None:
    _, by_name = collected(out, layers=["to_[qk]", "small"])
    assert by_name.layers == ["to_q.weight", "to_k.weight", "small.weight"]
    _, chosen = collected(out, layers=lambda name, module: module.out_features == 8)
    assert chosen.layers == ["small.weight"]


def test_the_size_of_xtx_is_said_beforehand(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "arrow_quant_v2")
    collected(out)
    assert "XᵀX of 4 layers takes up to 1.1 MB" in caplog.text


def test_sums_beyond_the_memory_lie_in_files_and_are_the_same(out: Path, tmp_path: Path) -> None:
    result, _ = collected(out)
    assert result["mapped_bytes"] == 0
    mapped = tmp_path / "mapped.parquet"
    result, _ = collected(mapped, max_memory_mb=0)
    assert result["mapped_bytes"] > 1e6
    assert mapped.read_bytes() == out.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_a_wrapper_around_forward_does_not_hide_the_timestep(out: Path) -> None:
    model = mlp()
    forward = model.forward
    model.forward = lambda *args, **kwargs: forward(*args, **kwargs)
    given = [{"args": (call["x"], call["timestep"])} for call in calls()]
    collect(model, given, out=out)
    assert [s["timestep"] for s in read(out).time_axis] == [900, 500, 100]


def test_xtx_that_does_not_fit_in_memory_is_warned_of(out: Path) -> None:
    result, _ = collected(out, max_memory_mb=1)
    assert any("XᵀX takes 2 MB" in warning for warning in result["warnings"])
