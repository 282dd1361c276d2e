"""Which calls go on with which trajectories, and what the time axis makes of their timesteps."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from arrow_quant_v2 import ConfigurationError
from arrow_quant_v2.calibration import collect, read
from calibration_nets import calls, mlp

ALL_ROWS = {"rows_per_step": 200, "validation_rows_per_step": 100}


def run(tmp_path: Path, given: Any, model: Any = None, **options: Any) -> Any:
    out = tmp_path / "calibration.parquet"
    result = collect(model or mlp(), given, out=out, **(ALL_ROWS | options))
    return result, read(out)


def at(*timesteps: Any, batch: int = 2) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {"x": torch.randn((batch, 3, 512), generator=generator), "timestep": t} for t in timesteps
    ]


@pytest.mark.parametrize(
    ("timesteps", "trajectories", "branches"),
    [
        ((900, 500, 100), 2, 1),
        ((900, 500, 900, 500), 4, 1),
        ((900, 900, 500, 500), 2, 2),
        ((900, 500, 500, 100, 100), 2, 1),  # Heun's method
        ((900, 900, 500, 500, 900, 900), 4, 2),
        ((900.5, 0.25, 900.5), 4, 1),
    ],
)
def test_a_noisier_timestep_begins_new_trajectories(
    tmp_path: Path, timesteps: tuple[float, ...], trajectories: int, branches: int
) -> None:
    result, data = run(tmp_path, at(*timesteps))
    assert result["num_trajectories"] == trajectories
    assert result["guidance_branches"] == branches
    assert [s["timestep"] for s in data.time_axis] == sorted(set(timesteps), reverse=True)


def test_another_batch_size_begins_new_trajectories(tmp_path: Path) -> None:
    result, _ = run(tmp_path, at(900, 500) + at(500, batch=3))
    assert result["num_trajectories"] == 5


@pytest.mark.parametrize(
    "timestep",
    [500, 500.0, torch.tensor(500), torch.tensor([500.0]), torch.tensor([500, 500])],
    ids=["int", "float", "0-d", "[1]", "[batch]"],
)
def test_a_timestep_may_be_given_in_any_form(tmp_path: Path, timestep: Any) -> None:
    _, data = run(tmp_path, at(timestep))
    assert [s["timestep"] for s in data.time_axis] == [500.0]


def test_samples_of_a_batch_may_have_different_timesteps(tmp_path: Path) -> None:
    given = at(torch.tensor([100, 100, 700, 400]), batch=4)
    _, data = run(tmp_path, given)
    layer = data["to_q.weight"]
    # Trajectory 1 is held out.
    assert {s: step.n_rows for s, step in layer.steps.items()} == {0: 3, 1: 3, 2: 3}
    assert layer.steps[2].row_trajectory.tolist().count(1) == 3
    assert layer.xtx_rows == 9


def test_both_branches_of_a_batch_belong_to_the_same_trajectories(tmp_path: Path) -> None:
    result, data = run(tmp_path, at(900, 500, batch=8), guidance_branches=2)
    assert (result["num_trajectories"], result["guidance_branches"]) == (4, 2)
    step = data["to_q.weight"].steps[0]
    assert sorted(step.row_trajectory.tolist()) == sorted([0, 1, 2, 3] * 6)
    assert len(set(step.row_key.tolist())) == 24
    assert step.n_rows == 3 * 6


def test_trajectories_are_numbered_from_where_they_are_told(tmp_path: Path) -> None:
    result, data = run(tmp_path, at(900, 900, 500), first_trajectory=5)
    assert (result["num_trajectories"], data.metadata["trajectory_ranges"]) == (2, [[5, 7]])
    step = data["to_q.weight"].steps[0]
    assert set(step.row_trajectory.tolist()) == {5, 6}
    assert step.n_rows == 2 * 3  # 5 is held out


def test_few_rows_are_warned_of(tmp_path: Path) -> None:
    result, _ = run(tmp_path, at(900), rows_per_step=16, validation_rows_per_step=8)
    assert any("collect with rows_per_step=64" in warning for warning in result["warnings"])


def test_few_trajectories_are_warned_of(tmp_path: Path) -> None:
    result, _ = run(tmp_path, at(900, batch=1))
    assert any("none of them held out" in warning for warning in result["warnings"])


@pytest.mark.parametrize("count", [128, 129, 600])
def test_a_file_has_at_most_128_steps(tmp_path: Path, count: int) -> None:
    timesteps = np.linspace(999, 1, count).tolist()
    result, data = run(
        tmp_path, at(*timesteps, batch=2), layers=["to_q"], hessian=False, rows_per_step=60
    )
    steps = result["num_steps"]
    assert count == steps == 128 or 100 < steps <= 128
    snr = [s["log_snr"] for s in data.time_axis]
    assert snr == sorted(snr)
    assert [s["timestep"] for s in data.time_axis] == sorted(
        (s["timestep"] for s in data.time_axis), reverse=True
    )
    layer = data["to_q.weight"]
    assert sorted(layer.steps) == list(range(steps))
    assert max(step.n_rows for step in layer.steps.values()) <= 3 * 3 * max(1, count // steps)
    assert sum(step.n_rows for step in layer.steps.values()) == 3 * count
    assert sum(len(step.rows) for step in layer.steps.values()) == 6 * count


def test_random_timesteps_of_training_are_merged_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given = at(*(torch.from_numpy(rng.uniform(0, 999, 8)) for _ in range(40)), batch=8)
    result, data = run(tmp_path, given, layers=["to_q"], hessian=False)
    assert result["num_trajectories"] == 320
    assert 100 < result["num_steps"] <= 128
    assert sum(s.n_rows for s in data["to_q.weight"].steps.values()) == 240 * 3


class Positional(torch.nn.Module):  # type: ignore[misc]
    """Its timestep has a name of its own, and all arguments may be positional."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(512, 64)

    def forward(self, sample: Any, noise_level: Any, labels: Any = None) -> Any:
        return self.fc(sample)


@pytest.mark.parametrize(
    "call",
    [
        {"args": (torch.ones(2, 512), torch.tensor([0.5, 0.5]), torch.tensor([1, 2]))},
        {"args": torch.ones(2, 512), "noise_level": 0.5, "labels": torch.tensor([1, 2])},
        {"sample": torch.ones(2, 512), "noise_level": torch.tensor(0.5)},
    ],
)
def test_the_timestep_is_found_by_the_signature(tmp_path: Path, call: dict[str, Any]) -> None:
    _, data = run(tmp_path, [call], Positional())
    assert data.metadata["time_axis"]["kind"] == "timestep"
    assert [s["timestep"] for s in data.time_axis] == [0.5]


def test_a_model_without_time_has_one_step_and_new_trajectories_in_each_call(
    tmp_path: Path,
) -> None:
    given = [{"input": torch.ones(2, 512)}, {"input": torch.ones(2, 512)}]
    result, data = run(tmp_path, given, torch.nn.Linear(512, 64))
    assert result["num_trajectories"] == 4
    assert data.metadata["time_axis"] == {
        "kind": "none",
        "schedule": "no time",
        "steps": [{"timestep": 0.0, "log_snr": 0.0}],
    }
    assert result["warnings"] == []


class Text(torch.nn.Module):  # type: ignore[misc]
    """A masked language model whose head sees one vector of each sequence."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(101, 64)
        self.fc = torch.nn.Linear(64, 256)
        self.pooled = torch.nn.Linear(64, 256)

    def forward(self, input_ids: Any) -> Any:
        x = self.embed(input_ids)
        self.pooled(x.mean(1))
        return self.fc(x)


def masked_calls() -> list[dict[str, Any]]:
    """A decoder that unmasks 4 sequences of 20 in three steps, and then one of another text."""
    text = torch.arange(80).reshape(4, 20)
    mask = torch.arange(20)
    steps = [torch.where(mask >= kept, 100, text) for kept in (0, 10, 15)]
    return [{"input_ids": tokens} for tokens in (*steps, (steps[1] + 1).clamp(max=100))]


def test_the_time_of_masked_text_is_its_masked_fraction(tmp_path: Path) -> None:
    result, data = run(tmp_path, masked_calls(), Text(), mask_token_id=100)
    axis = data.metadata["time_axis"]
    assert axis["kind"] == "masked_fraction"
    assert [s["timestep"] for s in axis["steps"]] == [1.0, 0.5, 0.25]
    assert [s["log_snr"] for s in axis["steps"]] == pytest.approx([-20, 0, np.log(3)])
    assert result["num_trajectories"] == 8
    half = data["fc.weight"].steps[1]
    assert len(half.row_masked) == len(half.rows) == 2 * 4 * 20
    assert half.row_masked.sum() == 2 * 4 * 10
    assert len(data["pooled.weight"].steps[1].row_masked) == 0


@pytest.mark.parametrize(
    "config",
    [SimpleNamespace(mask_token_id=100), {"mask_token_id": 100}],
    ids=["an object", "a mapping"],
)
def test_the_mask_is_that_of_the_models_config(config: Any, tmp_path: Path) -> None:
    model = Text()
    model.config = config
    _, data = run(tmp_path, masked_calls(), model)
    assert data.metadata["time_axis"]["kind"] == "masked_fraction"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (at(float("nan")), "must be finite"),
        (at(torch.tensor([1, 2, 3])), "3 values and the batch 2 samples"),
        ([*at(5), {"x": torch.ones(2, 3, 512), "timestep": None}], "time of kind 'none'"),
    ],
)
def test_a_timestep_that_does_not_fit_is_an_error(
    tmp_path: Path, given: list[dict[str, Any]], words: str
) -> None:
    model = mlp()
    model.time.forward = lambda t: torch.zeros(len(t), 512)
    with pytest.raises(ConfigurationError, match=words):
        run(tmp_path, given, model)


class Forgetful(torch.nn.Module):  # type: ignore[misc]
    """Layers that share their input at first."""

    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Linear(512, 64)
        self.b = torch.nn.Linear(512, 64)

    def forward(self, x: Any, timestep: int) -> Any:
        y = x + 1 if timestep == 1 else x
        return self.a(x), self.b(y)


def test_layers_that_stop_sharing_their_input_are_an_error_with_a_remedy(tmp_path: Path) -> None:
    from arrow_quant_v2 import QuantizationError

    with pytest.raises(QuantizationError, match=r"'b.weight' .* 'a.weight' .* share_inputs=False"):
        run(tmp_path, at(9, 8, 1), Forgetful())
    _, data = run(tmp_path, at(9, 8, 1), Forgetful(), share_inputs=False)
    assert data.aliases == {}


def test_a_tensor_changed_in_place_is_not_the_same_input(tmp_path: Path) -> None:
    class InPlace(Forgetful):
        def forward(self, x: Any, timestep: int) -> Any:
            return self.a(x), self.b(x.add_(1))

    _, data = run(tmp_path, at(9, 8, 7), InPlace())
    assert data.aliases == {}


def test_a_layer_used_twice_in_a_call_counts_both_inputs(tmp_path: Path) -> None:
    class Twice(Forgetful):
        def forward(self, x: Any, timestep: int) -> Any:
            return self.a(x), self.a(x * 2)

    result, data = run(tmp_path, at(9), Twice())
    step = data["a.weight"].steps[0]
    assert step.n_rows == 2 * 3
    assert len(set(step.row_key.tolist())) == 2 * 2 * 3
    assert "layers that no call used: b.weight" in result["warnings"]


def test_calls_that_fit_no_set_are_counted_from_where_they_are(tmp_path: Path) -> None:
    result, _ = run(tmp_path, list(calls(sets=3, batch=5, timesteps=(10,))))
    assert result["num_trajectories"] == 5  # the same timestep again is the same trajectories
