"""What stops a collection leaves no half file, and the same call goes on from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from arrow_quant_v2 import ConfigurationError
from arrow_quant_v2.calibration import checkpoint, collect, load_inputs
from calibration_nets import calls, mlp

TESTS = Path(__file__).resolve().parent
DIGITS = TESTS.parents[1] / "examples" / "digits_dit" / "model"


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    """The file of a collection that nothing stopped."""
    out = tmp_path / "whole.parquet"
    collect(mlp(), list(calls()), out=out)
    return out.read_bytes()


class Stop(Exception):
    """Raised by a callback."""


def stop_at(fraction: float) -> Any:
    def callback(message: str, done: float) -> None:
        if done >= fraction:
            raise Stop(message)

    return callback


def interrupted(at: int) -> Iterator[dict[str, Any]]:
    for i, call in enumerate(calls()):
        if i == at:
            raise KeyboardInterrupt
        yield call


@pytest.mark.parametrize("at", [2, 3, 5])
@pytest.mark.parametrize("max_memory_mb", [0, 4096], ids=["in files", "in memory"])
def test_after_ctrl_c_the_same_call_gives_the_same_file(
    tmp_path: Path, whole: bytes, at: int, max_memory_mb: int
) -> None:
    out = tmp_path / "calibration.parquet"
    with pytest.raises(KeyboardInterrupt):
        collect(mlp(), interrupted(at), out=out, max_memory_mb=max_memory_mb)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".calibration.parquet.scratch",
        "whole.inputs.safetensors",
        "whole.parquet",
    ]
    result = collect(mlp(), list(calls()), out=out, max_memory_mb=max_memory_mb)
    assert result["resumed_calls"] == at
    assert result["num_calls"] == 6
    assert out.read_bytes() == whole
    again, first = load_inputs(out), load_inputs(tmp_path / "whole.parquet")
    assert [c["timestep"] for c in again] == [c["timestep"] for c in first]
    assert all(torch.equal(a["x"], b["x"]) for a, b in zip(again, first, strict=True))
    assert not list(tmp_path.glob(".*"))


def test_a_signal_waits_for_the_end_of_the_call(tmp_path: Path, whole: bytes) -> None:
    out = tmp_path / "calibration.parquet"
    model = mlp()
    seen = []

    def signal_in_third_call(*_: Any) -> None:
        seen.append(1)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    model.to_q.register_forward_hook(signal_in_third_call)
    with pytest.raises(KeyboardInterrupt):
        collect(model, list(calls()), out=out)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    result = collect(mlp(), list(calls()), out=out)
    assert result["resumed_calls"] == 3
    assert out.read_bytes() == whole


def test_what_a_callback_raises_stops_and_can_be_gone_on_from(tmp_path: Path, whole: bytes) -> None:
    out = tmp_path / "calibration.parquet"
    with pytest.raises(Stop, match="call 4"):
        collect(mlp(), list(calls()), out=out, progress_callback=stop_at(0.5))
    seen: list[tuple[str, float]] = []
    result = collect(
        mlp(), list(calls()), out=out, progress_callback=lambda *told: seen.append(told)
    )
    assert result["resumed_calls"] == 3
    assert out.read_bytes() == whole
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions)
    assert seen[-1] == ("writing the file", 1.0)


def test_a_failed_call_is_not_half_counted(
    tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL_S", 0.0)
    monkeypatch.setattr(checkpoint, "SHARE", 0.0)
    out = tmp_path / "calibration.parquet"
    broken = list(calls())
    broken[4]["x"] = torch.full_like(broken[4]["x"], float("nan"))
    with pytest.raises(Exception, match="NaN or infinite"):
        collect(mlp(), broken, out=out)
    result = collect(mlp(), list(calls()), out=out)
    assert result["resumed_calls"] == 4
    assert out.read_bytes() == whole


def test_a_sampler_runs_again_without_being_counted_twice(tmp_path: Path, whole: bytes) -> None:
    out = tmp_path / "calibration.parquet"

    def sampler(stop: int | None) -> Any:
        def run(model: Any) -> None:
            for i, call in enumerate(calls()):
                if i == stop:
                    raise Stop
                model(**call)

        return run

    with pytest.raises(Stop):
        collect(mlp(), sampler=sampler(4), out=out)
    result = collect(mlp(), sampler=sampler(None), out=out)
    assert (result["resumed_calls"], result["num_calls"]) == (4, 6)
    assert out.read_bytes() == whole


@pytest.mark.parametrize("stop", [3, 5, 7])
def test_a_pipeline_goes_on_within_a_batch(tmp_path: Path, stop: int) -> None:
    def pipe() -> Any:
        return diffusers.DiTPipeline.from_pretrained(DIGITS, vae=None)

    options = {"steps": 3, "samples": 20, "layers": ["ff"], "prompts": [1, 2, 3]}
    collect(pipe(), out=tmp_path / "whole.parquet", **options)
    out = tmp_path / "calibration.parquet"
    broken, seen = pipe(), []

    def count(*_: Any) -> None:
        if len(seen) == stop:
            raise KeyboardInterrupt
        seen.append(1)

    step = broken.scheduler.step
    broken.scheduler.step = lambda *a, **k: (count(), step(*a, **k))[1]
    broken.scheduler.step.__signature__ = __import__("inspect").signature(step)
    with pytest.raises(KeyboardInterrupt):
        collect(broken, out=out, **options)
    result = collect(pipe(), out=out, **options)
    assert (result["resumed_calls"], result["num_calls"]) == (stop + 1, 9)
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert (tmp_path / "calibration.inputs.safetensors").read_bytes() == (
        tmp_path / "whole.inputs.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(
    ("change", "named"),
    [({"seed": 1}, "seed"), ({"hessian": False}, "hessian"), ({"layers": ["to_q"]}, "layers")],
)
def test_other_settings_start_over_with_a_warning(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    out = tmp_path / "calibration.parquet"
    with pytest.raises(KeyboardInterrupt):
        collect(mlp(), interrupted(4), out=out)
    result = collect(mlp(), list(calls()), out=out, **change)
    assert result["resumed_calls"] == 0
    assert any(f"different are: {named}" in warning for warning in result["warnings"])


def test_other_weights_start_over(tmp_path: Path) -> None:
    out = tmp_path / "calibration.parquet"
    with pytest.raises(KeyboardInterrupt):
        collect(mlp(), interrupted(4), out=out)
    model = mlp()
    model.out.weight.data += 1
    result = collect(model, list(calls()), out=out)
    assert result["resumed_calls"] == 0
    assert any("different are: weights" in warning for warning in result["warnings"])


def test_other_inputs_are_refused_with_the_remedy(tmp_path: Path, whole: bytes) -> None:
    out = tmp_path / "calibration.parquet"
    with pytest.raises(KeyboardInterrupt):
        collect(mlp(), interrupted(4), out=out)
    for others in (list(calls(seed=2)), list(calls())[:2]):
        with pytest.raises(ConfigurationError, match=r"4 calls .* resume=False"):
            collect(mlp(), others, out=out)
    result = collect(mlp(), list(calls()), out=out, resume=False)
    assert result["resumed_calls"] == 0
    assert out.read_bytes() == whole


def test_a_killed_collection_goes_on_from_its_last_checkpoint(tmp_path: Path, whole: bytes) -> None:
    out = tmp_path / "calibration.parquet"
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(TESTS)!r})
from arrow_quant_v2.calibration import checkpoint, collect
from calibration_nets import calls, mlp
checkpoint.INTERVAL_S = checkpoint.SHARE = 0.0
def killed():
    for i, call in enumerate(calls()):
        if i == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        yield call
collect(mlp(), killed(), out={str(out)!r})
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    result = collect(mlp(), list(calls()), out=out)
    assert result["resumed_calls"] == 4
    assert out.read_bytes() == whole
