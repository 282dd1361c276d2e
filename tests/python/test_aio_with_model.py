"""Coroutines that quantize and validate with the model at hand."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import refine_nets as nets
from arrow_quant_v2 import (
    ArrowQuantV2,
    AsyncArrowQuantV2,
    ConfigurationError,
    DiffusionQuantConfig,
)
from test_aio import tree, untimed


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
    assert tree(tmp_path / "awaited") == tree(tmp_path / "plain")
    assert seen == sorted(seen) and seen[-1] == 1.0
    assert ticks > 10, "the event loop runs on"


@pytest.mark.parametrize("message", ["call 2", "down", "measuring the error", "correction"])
def test_cancelling_stops_work_with_a_model_wherever_it_is(tmp_path: Path, message: str) -> None:
    given = blocks(tmp_path / "model")
    calls: list[int] = []
    given["model"].register_forward_pre_hook(lambda *_: calls.append(1))

    async def main() -> int:
        reached = asyncio.Event()

        def progress(text: str, fraction: float) -> None:
            if message in text:
                reached.set()

        run = asyncio.ensure_future(
            AsyncArrowQuantV2().quantize_diffusion_model_async(
                output_path=tmp_path / "out", progress_callback=progress, **given
            )
        )
        await reached.wait()
        run.cancel()
        before = len(calls)
        with pytest.raises(asyncio.CancelledError):
            await run
        return len(calls) - before

    assert asyncio.run(main()) <= 1, "the call under way is the last one"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_inputs_without_a_model_are_refused_as_in_the_plain_call(tmp_path: Path) -> None:
    given = blocks(tmp_path / "model") | {"model": None}
    with pytest.raises(ConfigurationError, match="inputs is given without model"):
        asyncio.run(
            AsyncArrowQuantV2().quantize_diffusion_model_async(
                output_path=tmp_path / "out", **given
            )
        )


def test_the_mode_of_a_config_counts_where_none_is_given(tmp_path: Path) -> None:
    given = blocks(tmp_path / "model")
    options = DiffusionQuantConfig(bit_width=8, mode="base")
    quantizer = AsyncArrowQuantV2()
    run = quantizer.quantize_diffusion_model_async(given["model_path"], tmp_path / "out", options)
    plain = ArrowQuantV2().quantize_diffusion_model(
        given["model_path"], tmp_path / "plain", options
    )
    assert untimed(asyncio.run(run)) == untimed(plain)
    assert tree(tmp_path / "out") == tree(tmp_path / "plain")
