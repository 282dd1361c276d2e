"""Coroutines that quantize and validate with the model at hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import refine_nets as nets
from arrow_quant_v2 import (
    ArrowQuantV2,
    AsyncArrowQuantV2,
    ConfigurationError,
    DiffusionQuantConfig,
)
from arrow_quant_v2.calibration import collect
from folders import digests
from test_aio import untimed


def blocks(folder: Path) -> dict[str, Any]:
    """What a quantization with a model is given: its files, options, itself, and inputs."""
    model = nets.save(nets.Blocks(), folder)
    options = DiffusionQuantConfig(bit_width=2, group_size=64, min_accuracy=0.0)
    given = {"model": nets.Blocks(), "inputs": nets.calls((12, 128), 4)}
    return {"model_path": model, "config": options} | given


def test_a_model_and_its_inputs_are_taken_as_in_the_plain_call(tmp_path: Path) -> None:
    given = blocks(tmp_path / "model")
    plain = ArrowQuantV2().quantize_diffusion_model(output_path=tmp_path / "plain", **given)
    seen: list[float] = []

    async def main() -> tuple[dict[str, Any], int]:
        run = asyncio.ensure_future(
            AsyncArrowQuantV2().quantize_diffusion_model_async(
                output_path=tmp_path / "awaited",
                progress_callback=lambda message, fraction: seen.append(fraction),
                **given,
            )
        )
        ticks = 0
        while not run.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return await run, ticks

    result, ticks = asyncio.run(main())
    assert untimed(result) == untimed(plain)
    assert digests(tmp_path / "awaited") == digests(tmp_path / "plain")
    assert seen == sorted(seen) and seen[-1] == 1.0
    assert ticks > 10, "the event loop runs on"


def calls_after_cancelling(
    net: torch.nn.Module, message: str, begin: Callable[[Callable[..., None]], Awaitable[Any]]
) -> int:
    """Cancel what begin(progress) does once a message has these words; count net's calls then."""
    calls: list[int] = []
    hook = net.register_forward_pre_hook(lambda *_: calls.append(1))

    async def main() -> int:
        reached = asyncio.Event()

        def progress(text: str, fraction: float) -> None:
            if message in text:
                reached.set()

        run = asyncio.ensure_future(begin(progress))
        await reached.wait()
        run.cancel()
        before = len(calls)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(run, 10)
        return len(calls) - before

    after = asyncio.run(main())
    hook.remove()
    return after


@pytest.mark.parametrize(
    "message", ["call 2", "down", "measuring the error", "correction", "writing"]
)
def test_cancelling_stops_work_with_a_model_wherever_it_is(tmp_path: Path, message: str) -> None:
    given = blocks(tmp_path / "model")

    def begin(progress: Callable[..., None]) -> Awaitable[Any]:
        return AsyncArrowQuantV2().quantize_diffusion_model_async(
            output_path=tmp_path / "out", progress_callback=progress, **given
        )

    after = calls_after_cancelling(given["model"], message, begin)
    assert after <= 1, "the call under way is the last one"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_inputs_without_a_model_are_refused_as_in_the_plain_call(tmp_path: Path) -> None:
    given = blocks(tmp_path / "model") | {"model": None}
    with pytest.raises(ConfigurationError, match="inputs is given without model"):
        asyncio.run(
            AsyncArrowQuantV2().quantize_diffusion_model_async(
                output_path=tmp_path / "out", **given
            )
        )
    for name in ("inputs", "calibration", "scheduler", "sampler"):
        with pytest.raises(ConfigurationError, match=f"{name} is given without model"):
            asyncio.run(AsyncArrowQuantV2().validate_quality_async("a", "b", **{name: "x"}))


def sampled(model: Any) -> torch.Tensor:
    x = torch.randn(2, 6, 128)
    for time in nets.TIMES:
        x = x - 0.1 * model(x, timestep=time)["sample"]
    return x


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model and what two bits made of it."""
    folder = tmp_path_factory.mktemp("pair")
    model = nets.save(nets.Blocks(), folder / "model")
    return model, nets.quantized(model, folder / "int2")


@pytest.mark.parametrize("kept", [False, True])
def test_validating_with_a_model_returns_what_the_plain_call_returns(
    pair: tuple[Path, Path], kept: bool, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"model": nets.Blocks(), "inputs": nets.calls((6, 128))}
    if kept:
        data = tmp_path / "calibration.parquet"
        collect(given["model"], given.pop("inputs"), out=data)
        given |= {"calibration": data}
    else:
        given |= {"scheduler": {"_class_name": "FlowMatchEulerDiscreteScheduler"}}
        given |= {"sampler": sampled}
    plain = ArrowQuantV2().validate_quality(*pair, **given)
    seen: list[tuple[float, threading.Thread]] = []

    async def progress(message: str, fraction: float) -> None:
        await asyncio.sleep(0)
        seen.append((fraction, threading.current_thread()))

    awaited = asyncio.run(AsyncArrowQuantV2().validate_quality_async(*pair, progress, **given))
    assert awaited == plain
    assert ("sample_psnr_db" in awaited) is not kept
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions) and (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert {thread for _, thread in seen} == {threading.main_thread()}


def endless(model: Any) -> torch.Tensor:
    while True:
        model(torch.zeros(2, 6, 128), timestep=500)


@pytest.mark.parametrize("message", ["down", "predictions", "layers", "samples"])
def test_cancelling_stops_validating_wherever_it_is(pair: tuple[Path, Path], message: str) -> None:
    net = nets.Blocks()

    def begin(progress: Callable[..., None]) -> Awaitable[Any]:
        return AsyncArrowQuantV2().validate_quality_async(
            *pair, progress, model=net, inputs=nets.calls((512, 128), 16), sampler=endless
        )

    after = calls_after_cancelling(net, message, begin)
    assert after <= 2, "the call under way is the last one that runs"
    assert not net._forward_pre_hooks


def test_what_a_callback_or_sampler_raises_comes_out_of_validating(pair: tuple[Path, Path]) -> None:
    def fail(*_: Any) -> torch.Tensor:
        raise KeyError("mine")

    given = {"model": nets.Blocks(), "inputs": nets.calls((6, 128))}
    for options in ({"progress_callback": fail}, {"sampler": fail}):
        with pytest.raises(KeyError, match="mine"):
            asyncio.run(AsyncArrowQuantV2().validate_quality_async(*pair, **options, **given))


def test_the_mode_of_a_config_counts_where_none_is_given(tmp_path: Path) -> None:
    given = blocks(tmp_path / "model")
    options = DiffusionQuantConfig(bit_width=8, mode="base")
    quantizer = AsyncArrowQuantV2()
    run = quantizer.quantize_diffusion_model_async(given["model_path"], tmp_path / "out", options)
    plain = ArrowQuantV2().quantize_diffusion_model(
        given["model_path"], tmp_path / "plain", options
    )
    assert untimed(asyncio.run(run)) == untimed(plain)
    assert digests(tmp_path / "out") == digests(tmp_path / "plain")
