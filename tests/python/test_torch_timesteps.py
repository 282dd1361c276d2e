"""Layers with parameters for groups of timesteps: how they get to know the time, and use it."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from arrow_quant_v2 import ConfigurationError, ShapeMismatchError
from arrow_quant_v2.time_groups import TimeGroups
from arrow_quant_v2.torch import timestep
from arrow_quant_v2.torch.activations import quantize_dynamic
from arrow_quant_v2.torch.layers import quantized_layer
from arrow_quant_v2.torch.moment import Moment
from arrow_quant_v2.torch.timesteps import PickUpTimestep
from handmade import HandmadeTensor, activation, grid

THREE = grid((725.0, 175.0))  # groups of 5, 11 and 4 steps, the noisiest first
TABLE = np.array([[1.0] * 40, [2.0] * 40, [4.0] * 40], np.float16)


def layer_of(module: nn.Module, groups: TimeGroups | None = THREE, **options: Any) -> Any:
    made: Any = HandmadeTensor(tuple(module.weight.shape), **options)  # type: ignore[arg-type]
    return quantized_layer(module, made, groups, torch.device("cpu"), torch.float32)


def corrections(layer: Any, x: Tensor, t: Any) -> Tensor:
    """What the layer adds at `t`, to what it gives without corrections."""
    with timestep(t):
        with_bias = layer(x)
    plain = copy.deepcopy(layer)
    plain.bias_corrections = None
    difference: Tensor = (with_bias - plain(x)).round(decimals=3)
    return difference


class Denoiser(nn.Module):
    """Takes its time as diffusion models do."""

    def __init__(self, groups: TimeGroups = THREE) -> None:
        super().__init__()
        self.layer = layer_of(nn.Linear(32, 40), groups, bias_corrections=TABLE)
        PickUpTimestep(self, groups)

    def forward(self, x: Tensor, timestep: Any = None, fail: bool = False) -> Tensor:
        output: Tensor = self.layer(x)
        if fail:
            raise RuntimeError("failed")
        return output


@pytest.mark.parametrize(
    ("t", "expected"), [(950, 1), (725.5, 1), (650, 2), (torch.tensor(250), 2), (0, 4)]
)
def test_each_group_of_timesteps_has_its_bias(t: Any, expected: float) -> None:
    layer = layer_of(nn.Linear(32, 40), bias_corrections=TABLE)
    assert corrections(layer, torch.randn(3, 2, 32), t).unique().tolist() == [expected]


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Linear(32, 40), (3, 32)),
        (nn.Linear(32, 40), (3, 2, 5, 32)),
        (nn.Conv1d(32, 40, 3), (3, 32, 5)),
        (nn.Conv2d(32, 40, 3), (3, 32, 5, 5)),
    ],
)
def test_samples_of_one_batch_may_be_at_different_times(
    module: nn.Module, shape: tuple[int, ...]
) -> None:
    added = corrections(
        layer_of(module, bias_corrections=TABLE), torch.randn(shape), torch.tensor([900, 0, 300])
    )
    assert [sample.unique().tolist() for sample in added] == [[1], [4], [2]]


def test_samples_in_one_group_need_no_axis_of_their_own() -> None:
    layer = layer_of(nn.Linear(32, 40), bias_corrections=TABLE)
    assert corrections(layer, torch.randn(7, 32), [900, 800, 750]).unique().tolist() == [1]
    with pytest.raises(ShapeMismatchError, match=r"3 timesteps in different groups .* \[7, 40\]"):
        corrections(layer, torch.randn(7, 32), [900, 0, 300])


def test_activations_are_clipped_as_the_group_says() -> None:
    clip = np.array([1.0, 0.7, 0.5], np.float32)
    layer = layer_of(nn.Linear(32, 40), activation=activation(4, clip=clip))
    x = torch.randn(3, 32)
    weight = layer.dequantize()
    with timestep([900, 300, 0]):
        output = layer(x)
    codes = quantize_dynamic(x, 4, torch.from_numpy(clip)[:, None])
    torch.testing.assert_close(output, codes @ weight.T + layer.bias)


def test_static_ranges_are_those_of_the_group() -> None:
    layer = layer_of(
        nn.Conv2d(32, 40, 1),
        activation=activation(
            8,
            mode="static",
            scale=np.array([0.5, 0.25, 0.125], np.float32),
            zero_point=np.array([100, 120, 140], np.float32),
        ),
    )
    with timestep(0):
        fine = layer(torch.full((1, 32, 1, 1), 0.125))
    with timestep(999):
        coarse = layer(torch.full((1, 32, 1, 1), 0.125))
    zero = layer.bias[:, None, None]
    weight = layer.dequantize().sum(1)
    torch.testing.assert_close(fine[0], 0.125 * weight + zero)
    torch.testing.assert_close(coarse[0], zero)


def test_a_single_group_needs_no_timestep() -> None:
    layer = layer_of(nn.Linear(32, 40), None, bias_corrections=TABLE[2:])
    plain = layer_of(nn.Linear(32, 40), None)
    plain.bias = layer.bias
    x = torch.randn(2, 32)
    torch.testing.assert_close(layer(x), plain(x) + 4)


def test_without_a_timestep_the_error_says_both_remedies() -> None:
    layer = layer_of(nn.Linear(32, 40), bias_corrections=TABLE)
    with pytest.raises(ConfigurationError, match=r"layer.weight .*\(timestep, .*\.timestep\(t\)"):
        layer(torch.randn(2, 32))


@pytest.mark.parametrize(
    "call",
    [
        lambda model, x: model(x, 300),
        lambda model, x: model(x, timestep=torch.tensor([300])),
        lambda model, x: model(timestep=torch.full((2,), 300.0, dtype=torch.float16), x=x),
    ],
    ids=["positional", "keyword", "one for each"],
)
def test_a_model_picks_up_its_own_argument(call: Callable[[nn.Module, Tensor], Tensor]) -> None:
    model, x = Denoiser(), torch.randn(2, 32)
    with timestep(300):
        expected = model.layer(x)
    assert torch.equal(call(model, x), expected)


def test_the_time_is_forgotten_after_a_call_even_one_that_failed() -> None:
    model, x = Denoiser(), torch.randn(2, 32)
    model(x, 300)
    with pytest.raises(ConfigurationError, match="timestep"):
        model(x)
    with pytest.raises(RuntimeError, match="failed"):
        model(x, 300, fail=True)
    with pytest.raises(ConfigurationError, match="timestep"):
        model(x)


def test_what_is_set_by_hand_wins() -> None:
    model, x = Denoiser(), torch.randn(2, 32)
    expected = model(x, 0)
    with timestep(0):
        assert torch.equal(model(x, 900), expected)
        assert torch.equal(model(x), expected)


def test_a_model_within_a_model_has_its_own_time() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Denoiser()
            self.layer = layer_of(nn.Linear(32, 40), bias_corrections=TABLE)
            PickUpTimestep(self, THREE)

        def forward(self, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
            return self.inner(x, 0), self.layer(x)

    model, x = Outer(), torch.randn(2, 32)
    inner, outer = model(x, 900)
    with timestep(900):
        assert torch.equal(model.layer(x), outer)
    with timestep(0):
        assert torch.equal(model.inner(x), inner)


def test_threads_have_times_of_their_own() -> None:
    model, x = Denoiser(), torch.randn(2, 32)
    times = [900, 300, 0] * 20
    expected = {t: model(x, t) for t in set(times)}
    with ThreadPoolExecutor(4) as pool:
        for t, output in zip(times, pool.map(lambda t: model(x, t), times), strict=True):
            assert torch.equal(output, expected[t])


def test_copies_and_pickles_still_pick_up_the_time() -> None:
    model, x, file = Denoiser(), torch.randn(2, 32), io.BytesIO()
    expected = model(x, 300)
    torch.save(model, file)
    file.seek(0)
    for same in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert torch.equal(same(x, 300), expected)


def test_masked_text_models_count_their_masks() -> None:
    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = {"mask_token_id": 9}
            self.table = nn.Embedding(10, 32)
            self.layer = layer_of(nn.Linear(32, 40), groups, bias_corrections=TABLE[:2])
            PickUpTimestep(self, groups)

        def forward(self, input_ids: Tensor) -> Tensor:
            output: Tensor = self.layer(self.table(input_ids))
            return output

    groups = grid((0.5,), kind="masked_fraction", timesteps=(1.0, 0.75, 0.25, 0.0))
    model, ids = Text(), torch.tensor([[9, 9, 9, 1], [9, 1, 2, 3]])
    embedded = model.table(ids)
    with timestep([0.75, 0.25]):
        expected = model.layer(embedded)
    assert torch.equal(model(ids), expected)
    assert torch.equal(model(input_ids=ids), expected)
    model.config = {}
    with pytest.raises(ConfigurationError, match=r"mask_token_id in its config, .*\.timestep\(t\)"):
        model(ids)
    with timestep(0.75):
        assert torch.equal(model(ids)[0], expected[0])
        assert not torch.equal(model(ids)[1], expected[1])


def test_biases_jump_at_boundaries_unless_the_grid_smooths_them() -> None:
    table = torch.from_numpy(TABLE[:, :1])
    steps = [Moment.at(t, THREE).bias(table).item() for t in THREE.timesteps]
    assert steps == [1] * 5 + [2] * 11 + [4] * 4


@pytest.mark.parametrize("interpolation", ["linear", "cubic", "sigmoid"])
def test_smoothed_biases_pass_from_group_to_group_within_the_window(interpolation: str) -> None:
    groups = grid((725.0, 175.0), interpolation=interpolation, window=4)
    table = torch.from_numpy(TABLE[:, :1]).float()
    times = np.linspace(950, 0, 381)
    values = np.array([Moment.at(t, groups).bias(table).item() for t in times])
    assert (np.diff(values) >= 0).all()
    assert np.abs(np.diff(values)).max() < 0.1  # steps of 2.5, where the jumps are 1 and 2
    # Steps 4 and 5 are at 750 and 700: half way between both groups, and two steps to each side.
    middle = Moment.at(725, groups)
    assert (middle.biases.lower, middle.biases.share) == (0, pytest.approx(0.5))
    assert values[times >= 825].tolist() == [1] * int((times >= 825).sum())
    assert set(values[(times <= 625) & (times >= 275)]) == {2}
    assert set(values[times <= 75]) == {4}
    # The shares of the definition, a quarter into the window.
    quarter = Moment.at(775, groups).biases.share
    expected = {"linear": 0.25, "cubic": 0.75**3 / 6, "sigmoid": 0.0701}[interpolation]
    assert quarter == pytest.approx(expected, abs=1e-4)


def test_a_window_is_no_wider_than_the_shorter_of_its_groups() -> None:
    groups = grid((875.0, 175.0), interpolation="linear", window=50)  # 2, 14 and 4 steps
    shares = [Moment.at(t, groups) for t in (950, 900, 875, 850, 800)]
    assert [m.biases.share for m in shares] == [0, 0.25, 0.5, 0.75, 0]


def test_biases_and_activations_go_over_each_for_itself() -> None:
    groups = grid((725.0, 175.0), activation_interpolation="linear", window=4)
    quarter = Moment.at(775, groups)
    assert quarter.biases.share == 0
    assert (quarter.activations.lower, quarter.activations.share) == (0, pytest.approx(0.25))


def test_smoothed_clip_ratios_pass_in_their_logarithm() -> None:
    groups = grid((725.0, 175.0), activation_interpolation="linear", window=4)
    table = torch.tensor([1.0, 0.25, 0.25])
    clips = [Moment.at(t, groups).clip(table).item() for t in (900, 725, 500)]
    assert clips == pytest.approx([1.0, 0.5, 0.25])


def test_smoothed_ranges_pass_in_width_and_centre_and_hold_zero() -> None:
    groups = grid((725.0, 175.0), activation_interpolation="linear", window=4)
    scale, zero = torch.tensor([0.1, 0.4, 0.4]), torch.tensor([3.0, 12.0, 12.0])
    step, code_of_zero = Moment.at(725, groups).quantizer(scale, zero, 4)
    # Ranges -0.3 … 1.2 and -4.8 … 1.2: width √(1.5 · 6) = 3, centre (0.45 - 1.8) / 2.
    assert step.item() == pytest.approx(3 / 15)
    assert code_of_zero.item() == round((0.675 + 1.5) / (3 / 15))
    for t, group in ((900, 0), (500, 1)):
        assert Moment.at(t, groups).quantizer(scale, zero, 4) == (scale[group], zero[group])
    positive = Moment.at(725, groups).quantizer(torch.tensor([0.1, 10.0, 1.0]), zero * 0, 4)
    assert positive[1].item() == 0 and positive[0].item() > 0
