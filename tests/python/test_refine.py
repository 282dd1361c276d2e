"""refine: corrections of biases, estimated and confirmed with the model at hand."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import refine_nets as nets
from arrow_quant_v2 import (
    ConfigurationError,
    ModelNotFoundError,
    QuantizationError,
    load_quantized,
)
from arrow_quant_v2._core import CancelToken
from arrow_quant_v2.calibration import collect, refine
from arrow_quant_v2.torch import load_model
from arrow_quant_v2.with_model.calls import CallOptions, model_calls
from arrow_quant_v2.with_model.judge import Judge
from arrow_quant_v2.with_model.quantized_copy import QuantizedCopy
from arrow_quant_v2.with_model.refinement import Refinement
from arrow_quant_v2.with_model.time_grouping import uniform_begins
from folders import digests

SHAPE = (6, 128)


class Single(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.fc = torch.nn.Linear(256, 128)

    def forward(self, x: Any, timestep: float) -> Any:
        return self.fc(x)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nets.save(nets.Blocks(), tmp_path_factory.mktemp("blocks") / "model")


@pytest.fixture(scope="module")
def int2(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nets.quantized(folder, tmp_path_factory.mktemp("int2") / "out")


def loaded(path: Path, net: Any = None) -> Any:
    model: Any = load_model(nets.Blocks() if net is None else net, path)
    return model.eval()


def test_predictions_of_other_trajectories_gain(int2: Path, tmp_path: Path) -> None:
    net, fresh = nets.Blocks(), nets.calls(SHAPE, 16, seed=99)
    result = refine(net, int2, nets.calls(SHAPE), out=tmp_path / "out")
    assert result["accepted"] and result["reason"] == ""
    before = nets.error_of(net, loaded(int2), fresh)
    after = nets.error_of(net, loaded(tmp_path / "out"), fresh)
    assert after < 0.9 * before
    assert result["error_after"] < 0.9 * result["error_before"]


def test_the_error_afterwards_is_that_of_the_written_model(int2: Path, tmp_path: Path) -> None:
    net, given = nets.Blocks(), nets.calls(SHAPE)
    result = refine(net, int2, given, out=tmp_path / "out")
    held_out = [call | {"x": call["x"][[1, 5]]} for call in given]
    for path, error in ((int2, "error_before"), (tmp_path / "out", "error_after")):
        expected = nets.error_of(net, loaded(path), held_out)
        assert result[error] == pytest.approx(expected, rel=1e-4)


def test_a_single_layer_gets_the_mean_of_what_its_output_lacks(tmp_path: Path) -> None:
    net = Single()
    path = nets.quantized(nets.save(net, tmp_path / "model"), tmp_path / "int2")
    given = [call | {"x": call["x"] + 1} for call in nets.calls((4, 256))]
    result = refine(net, path, given, num_time_groups=1)
    assert [c["name"] for c in result["candidates"] if c["accepted"]] == ["1 group"]
    with load_quantized(path) as source:
        tensor = source["fc.weight"]
        lost = net.fc.weight.detach().numpy().astype(np.float64) - tensor.dequantize()
        rows = np.concatenate([call["x"][[0, 2, 3, 4, 6, 7]].numpy() for call in given])
        expected = rows.reshape(-1, 256).mean(axis=0, dtype=np.float64) @ lost.T
        np.testing.assert_allclose(tensor.bias_corrections[0], expected, rtol=0.01, atol=1e-3)


def test_the_model_is_left_as_it_was(int2: Path, tmp_path: Path) -> None:
    net = nets.Blocks().train()
    net.blocks[0].eval()
    before, modes = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    source = digests(int2)
    refine(net, int2, nets.calls(SHAPE), out=tmp_path / "out")
    assert [m.training for m in net.modules()] == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert digests(int2) == source


def test_without_out_the_model_itself_is_revised(folder: Path, tmp_path: Path) -> None:
    path = nets.quantized(folder, tmp_path / "int2")
    assert refine(nets.Blocks(), path, nets.calls(SHAPE))["path"] == str(path)
    with load_quantized(path) as source:
        assert len(source["blocks.1.down.weight"].bias_corrections) >= 1
        assert source["direction"].quant_type == "none"


def test_progress_rises_to_one(int2: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []
    refine(
        nets.Blocks(),
        int2,
        nets.calls(SHAPE),
        out=tmp_path / "out",
        progress_callback=lambda *report: seen.append(report),
    )
    fractions = [fraction for _, fraction in seen]
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert fractions == sorted(fractions)


@pytest.mark.parametrize("message", ["measuring", "estimating", "trying", "writing"])
def test_what_a_callback_raises_stops_the_work_and_changes_nothing(
    message: str, int2: Path, tmp_path: Path
) -> None:
    def stop(text: str, fraction: float) -> None:
        if message in text:
            raise KeyError(text)

    before = digests(int2)
    for out in (None, tmp_path / "out"):
        with pytest.raises(KeyError):
            refine(nets.Blocks(), int2, nets.calls(SHAPE), out=out, progress_callback=stop)
    assert digests(int2) == before
    assert [path.name for path in int2.parent.iterdir()] == [int2.name]
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_being_written_are_given_up(int2: Path, tmp_path: Path) -> None:
    net, cancel = nets.Blocks(), CancelToken()
    judge = Judge(net, model_calls(net, nets.calls(SHAPE), None, CallOptions()))

    def progress(message: str, fraction: float) -> None:
        if "writing" in message:
            cancel.cancel()

    refinement = Refinement(net, QuantizedCopy(net, int2), judge, progress, cancel)
    with pytest.raises(QuantizationError, match="cancelled"):
        refinement.run(tmp_path / "out", 1)
    assert list(tmp_path.iterdir()) == []


def test_groups_of_timesteps_are_taken_where_means_change_with_time(tmp_path: Path) -> None:
    net = nets.Blocks(64, 1024, depth=1)
    net.direction.data *= 3
    path = nets.quantized(nets.save(net, tmp_path / "model"), tmp_path / "int2")
    result = refine(net, path, nets.calls((64, 64), 16), beta_schedule="linear")
    assert result["accepted"] and result["groups"] > 1
    assert 0 < result["bits_per_weight_after"] - result["bits_per_weight_before"] <= 0.1
    with load_quantized(path) as source:
        groups = source.time_groups()
        assert groups is not None and len(groups) == result["groups"]
        assert groups.timesteps == nets.TIMES
        assert groups.log_snr == tuple(sorted(groups.log_snr))
        lengths = {len(tensor.bias_corrections) for tensor in source.values()}
        assert len(groups) in lengths <= {0, 1, len(groups)}
    fresh = nets.calls((64, 64), 16, seed=5)
    errors = [c["error_after"] for c in result["candidates"]]
    other = loaded(path, nets.Blocks(64, 1024, depth=1))
    assert nets.error_of(net, other, fresh) == pytest.approx(min(errors), rel=0.2)


def test_convolutions_and_layers_of_the_timestep_are_corrected_too(tmp_path: Path) -> None:
    net = nets.Image().eval()
    path = nets.quantized(nets.save(net, tmp_path / "model"), tmp_path / "int2")
    given = nets.calls((128, 8, 8))
    before = nets.error_of(net, loaded(path, nets.Image()), nets.calls((128, 8, 8), seed=9))
    result = refine(net, path, given)
    assert result["accepted"]
    with load_quantized(path) as source:
        assert len(source["second.weight"].bias_corrections) >= 1
    after = nets.error_of(net, loaded(path, nets.Image()), nets.calls((128, 8, 8), seed=9))
    assert after < before


def test_masked_text_is_judged_by_the_distributions_of_masked_tokens(tmp_path: Path) -> None:
    net = nets.MaskedText().eval()
    path = nets.quantized(nets.save(net, tmp_path / "model"), tmp_path / "int2", modality="text")
    result = refine(net, path, nets.token_calls(16), mask_token_id=64)
    assert "masked tokens" in result["error_words"]
    assert 0 < result["error_after"] <= result["error_before"]


def few(trajectories: int) -> list[dict[str, Any]]:
    return nets.calls(SHAPE, trajectories)


def unrevised(path: Path) -> bool:
    with load_quantized(path) as source:
        return all(tensor.bias_corrections.size == 0 for tensor in source.values())


def test_one_trajectory_confirms_nothing(int2: Path, tmp_path: Path) -> None:
    result = refine(nets.Blocks(), int2, few(1), out=tmp_path / "out")
    assert not result["accepted"] and "of 1 trajectories 0 are held out" in result["reason"]
    assert (result["groups"], result["error_before"], result["candidates"]) == (0, None, [])
    assert unrevised(tmp_path / "out")


def test_corrections_that_held_out_trajectories_do_not_confirm_are_left_out(tmp_path: Path) -> None:
    net = Single()  # whose inputs have no mean
    path = nets.quantized(nets.save(net, tmp_path / "model"), tmp_path / "int2")
    before = digests(path)
    result = refine(net, path, nets.calls((4, 256)))
    assert not result["accepted"]
    assert "no correction lowers the held-out error by 1%" in result["reason"]
    assert result["error_after"] == result["error_before"]
    assert digests(path) == before


def test_inputs_come_from_beside_the_calibration_file(int2: Path, tmp_path: Path) -> None:
    data, net = tmp_path / "calibration.parquet", nets.Blocks()
    collect(net, nets.calls(SHAPE), out=data, beta_schedule="cosine")
    kept = refine(net, int2, calibration=data, out=tmp_path / "a")
    given = refine(net, int2, nets.calls(SHAPE), beta_schedule="cosine", out=tmp_path / "b")
    assert kept["num_trajectories"] == 8
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert kept | {"path": ""} == given | {"path": ""}


def test_an_iterator_of_inputs_is_gone_through_several_times(int2: Path, tmp_path: Path) -> None:
    result = refine(nets.Blocks(), int2, iter(nets.calls(SHAPE)), out=tmp_path / "out")
    assert result["accepted"]


def test_both_branches_of_guidance_count_as_one_trajectory(int2: Path, tmp_path: Path) -> None:
    both = [call | {"x": torch.cat([call["x"]] * 2)} for call in nets.calls(SHAPE)]
    result = refine(nets.Blocks(), int2, both, guidance_branches=2, out=tmp_path / "out")
    assert (result["num_trajectories"], result["held_out_trajectories"]) == (8, 2)
    data = tmp_path / "calibration.parquet"
    collect(nets.Blocks(), both, out=data, guidance_branches=2)
    again = refine(nets.Blocks(), int2, calibration=data, out=tmp_path / "again")
    assert again["num_trajectories"] == 8


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": "path", "inputs": few(4)}, ConfigurationError, "model is 'path'"),
        ({}, ConfigurationError, "inputs is not given, and neither is calibration"),
        ({"inputs": []}, ConfigurationError, "inputs is empty"),
        ({"inputs": few(4), "num_time_groups": 0}, ConfigurationError, "num_time_groups = 0"),
        ({"inputs": few(4), "num_time_groups": 2.5}, ConfigurationError, "= 2.5: must be an"),
        ({"inputs": few(4), "num_time_groups": None}, ConfigurationError, "= None: must be an"),
        ({"inputs": few(4), "component": "unet"}, ConfigurationError, "component = 'unet'"),
        ({"calibration": "nowhere.parquet"}, ConfigurationError, "there is no such file; name one"),
    ],
)
def test_what_does_not_fit_is_refused(
    options: dict[str, Any], error: type[Exception], message: str, int2: Path
) -> None:
    with pytest.raises(error, match=message):
        refine(**({"model": nets.Blocks(), "quantized_path": int2} | options))


def test_a_folder_without_a_quantized_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        refine(nets.Blocks(), tmp_path, few(4))


@pytest.mark.parametrize(
    ("levels", "rows", "most", "begins"),
    [
        (range(-5, 5), 100, 1, [0]),
        (range(-5, 5), 100, 2, [0, 5]),
        (range(-5, 5), 100, 100, list(range(10))),
        ([-20, -10, -1, 0, 1, 10], 100, 2, [0, 3]),
        (range(-5, 5), 16, 5, [0, 4]),
        (range(-5, 5), 1, 5, [0]),
    ],
)
def test_groups_have_equal_spans_of_log_snr_and_rows_enough(
    levels: Any, rows: int, most: int, begins: list[int]
) -> None:
    log_snr = np.array(list(levels), np.float64)
    trajectories = [set(range(4)) for _ in log_snr]
    assert uniform_begins(log_snr, np.full(len(log_snr), rows), trajectories, most) == begins
