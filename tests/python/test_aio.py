"""Coroutines: results, progress on the event loop, cancellation, several models at once."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from arrow_quant_v2 import (
    ArrowQuantV2,
    AsyncArrowQuantV2,
    ConfigurationError,
    DiffusionQuantConfig,
    ModelNotFoundError,
)
from folders import digests
from tiny import QUANTIZED, tiny_tensors, write_safetensors, write_sparse_model


@pytest.fixture
def large_model(tmp_path: Path) -> Path:
    """A model that keeps a run busy for seconds, on a disk where it takes no room."""
    model = tmp_path / "large.safetensors"
    write_sparse_model(model, num_tensors=96, rows=8192, cols=8192)
    return model


def untimed(result: dict[str, Any]) -> dict[str, Any]:
    measured = ("quantized_path", "quantization_time_s", "flush_time_s", "peak_memory_mb")
    return {key: value for key, value in result.items() if key not in measured}


def test_a_coroutine_returns_what_the_plain_call_returns(tiny_model: Path, tmp_path: Path) -> None:
    config = DiffusionQuantConfig(bit_width=2, group_size=64)
    plain = ArrowQuantV2().quantize_diffusion_model(tiny_model, tmp_path / "plain", config)
    quantizer = AsyncArrowQuantV2()

    async def main() -> tuple[dict[str, Any], dict[str, Any]]:
        result = await quantizer.quantize_diffusion_model_async(
            tiny_model, tmp_path / "awaited", config
        )
        return result, await quantizer.validate_quality_async(tiny_model, tmp_path / "awaited")

    result, validation = asyncio.run(main())
    assert untimed(result) == untimed(plain)
    assert digests(tmp_path / "awaited") == digests(tmp_path / "plain")
    expected = ArrowQuantV2().validate_quality(tiny_model, tmp_path / "plain")
    assert validation["per_layer_accuracy"] == expected["per_layer_accuracy"]


def test_a_coroutine_follows_the_mode_that_was_asked_for(tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    write_safetensors(model, {"model.embed_tokens.weight": tiny_tensors()[QUANTIZED[0]]})
    for mode, quant_type in (("diffusion", "none"), ("base", "int4")):
        quantizer = AsyncArrowQuantV2(mode=mode)
        assert quantizer.mode == mode
        work = quantizer.quantize_diffusion_model_async(model, tmp_path / mode)
        [layer] = asyncio.run(work)["layers"]
        assert layer["quant_type"] == quant_type


@pytest.mark.parametrize("is_async", [False, True])
def test_progress_arrives_in_order_on_the_event_loop(
    tiny_model: Path, tmp_path: Path, is_async: bool
) -> None:
    seen: list[tuple[str, float, threading.Thread]] = []

    def plain(message: str, fraction: float) -> None:
        seen.append((message, fraction, threading.current_thread()))

    async def awaited(message: str, fraction: float) -> None:
        await asyncio.sleep(0.001)
        plain(message, fraction)

    async def main() -> None:
        await AsyncArrowQuantV2().quantize_diffusion_model_async(
            tiny_model, tmp_path / "out", progress_callback=awaited if is_async else plain
        )

    asyncio.run(main())
    fractions = [fraction for _, fraction, _ in seen]
    assert fractions[0] == 0.0
    assert fractions[-1] == 1.0, "all is delivered before the result"
    assert fractions == sorted(fractions)
    assert {thread for _, _, thread in seen} == {threading.main_thread()}
    assert any("to_q" in message for message, _, _ in seen)


def test_the_event_loop_runs_on_meanwhile(large_model: Path, tmp_path: Path) -> None:
    async def main() -> int:
        run = asyncio.ensure_future(
            AsyncArrowQuantV2().quantize_diffusion_model_async(large_model, tmp_path / "out")
        )
        ticks = 0
        while ticks < 20 and not run.done():
            await asyncio.sleep(0.005)
            ticks += 1
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        return ticks

    assert asyncio.run(main()) == 20


@pytest.mark.parametrize("after", [0.0, 0.05, 0.4])
def test_cancelling_stops_the_work_and_leaves_nothing(
    large_model: Path, tmp_path: Path, after: float
) -> None:
    async def main() -> None:
        run = asyncio.ensure_future(
            AsyncArrowQuantV2().quantize_diffusion_model_async(large_model, tmp_path / "out")
        )
        await asyncio.sleep(after)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(main())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.safetensors"]


def test_a_time_out_stops_the_work_and_leaves_nothing(large_model: Path, tmp_path: Path) -> None:
    async def main() -> None:
        await asyncio.wait_for(
            AsyncArrowQuantV2().quantize_diffusion_model_async(large_model, tmp_path / "out"), 0.2
        )

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(main())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.safetensors"]


class Enough(Exception):
    """No exception that the library knows."""


@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_callback_raises_stops_the_work_and_comes_out_unchanged(
    large_model: Path, tmp_path: Path, is_async: bool
) -> None:
    error = Enough()

    def plain(message: str, fraction: float) -> None:
        if fraction > 0:
            raise error

    async def awaited(message: str, fraction: float) -> None:
        plain(message, fraction)

    async def main() -> None:
        await AsyncArrowQuantV2().quantize_diffusion_model_async(
            large_model, tmp_path / "out", progress_callback=awaited if is_async else plain
        )

    with pytest.raises(Enough) as raised:
        asyncio.run(main())
    assert raised.value is error
    assert not (tmp_path / "out").exists()


def test_several_models_are_quantized_as_each_alone(tiny_model: Path, tmp_path: Path) -> None:
    configs = [DiffusionQuantConfig(bit_width=bits) for bits in (2, 4, 8)]
    models: list[tuple[Path, Path, DiffusionQuantConfig | None]] = [
        (tiny_model, tmp_path / f"out{index}", config) for index, config in enumerate(configs)
    ]
    models.append((tiny_model, tmp_path / "out3", None))
    seen: dict[int, list[float]] = {}

    def progress(index: int, message: str, fraction: float) -> None:
        seen.setdefault(index, []).append(fraction)

    results = asyncio.run(AsyncArrowQuantV2().quantize_multiple_models_async(models, progress))
    assert [result["bit_width"] for result in results] == [2, 4, 8, 4]
    for index, (_, output, config) in enumerate(models):
        ArrowQuantV2().quantize_diffusion_model(tiny_model, tmp_path / "alone", config)
        assert digests(output) == digests(tmp_path / "alone")
        shutil.rmtree(tmp_path / "alone")
        assert seen[index][0] == 0.0
        assert seen[index][-1] == 1.0
        assert seen[index] == sorted(seen[index])


def test_a_model_that_fails_does_not_lose_the_others(tiny_model: Path, tmp_path: Path) -> None:
    models = [
        (tiny_model, tmp_path / "out0", None),
        (tmp_path / "missing", tmp_path / "out1", None),
        (tiny_model, tmp_path / "out2", None),
    ]
    quantizer = AsyncArrowQuantV2()
    with pytest.raises(ModelNotFoundError, match=r"model 1 of 3, .*missing: ") as raised:
        asyncio.run(quantizer.quantize_multiple_models_async(models))
    results = raised.value.results
    assert results is not None
    assert [type(result) for result in results] == [dict, ModelNotFoundError, dict]
    assert (tmp_path / "out0" / "manifest.json").exists()
    assert (tmp_path / "out2" / "manifest.json").exists()
    again = asyncio.run(quantizer.quantize_multiple_models_async(models, return_exceptions=True))
    assert [type(result) for result in again] == [dict, ModelNotFoundError, dict]


def test_an_error_in_the_callback_of_several_models_stops_all(
    large_model: Path, tmp_path: Path
) -> None:
    def progress(index: int, message: str, fraction: float) -> None:
        if index == 1 and fraction > 0:
            raise Enough

    models = [(large_model, tmp_path / f"out{index}", None) for index in range(3)]
    with pytest.raises(Enough):
        asyncio.run(AsyncArrowQuantV2().quantize_multiple_models_async(models, progress))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.safetensors"]


def test_cancelling_several_models_stops_all(large_model: Path, tmp_path: Path) -> None:
    async def main() -> None:
        models = [(large_model, tmp_path / f"out{index}", None) for index in range(3)]
        await asyncio.wait_for(
            AsyncArrowQuantV2().quantize_multiple_models_async(models), timeout=0.3
        )

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(main())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.safetensors"]


def test_two_models_may_not_share_an_output(tiny_model: Path, tmp_path: Path) -> None:
    models = [(tiny_model, tmp_path / "out", None), (tiny_model, f"{tmp_path}/./out", None)]
    with pytest.raises(ConfigurationError, match="models 0 and 1 both write to"):
        asyncio.run(AsyncArrowQuantV2().quantize_multiple_models_async(models))


def test_ctrl_c_stops_a_plain_call_and_leaves_nothing(large_model: Path, tmp_path: Path) -> None:
    program = (
        "import sys, arrow_quant_v2 as aq\n"
        "print('ready', flush=True)\n"
        "aq.ArrowQuantV2().quantize_diffusion_model(sys.argv[1], sys.argv[2])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, large_model, tmp_path / "out"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        while not (tmp_path / "out").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert b"KeyboardInterrupt" in process.stderr.read()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.safetensors"]


def in_child(model: Path, output: Path) -> None:
    ArrowQuantV2().quantize_diffusion_model(model, output)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_processes_can_quantize_after_the_parent_did(
    tiny_model: Path, tmp_path: Path, method: str
) -> None:
    ArrowQuantV2().quantize_diffusion_model(tiny_model, tmp_path / "parent")
    child = multiprocessing.get_context(method).Process(
        target=in_child, args=(tiny_model, tmp_path / "child")
    )
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert digests(tmp_path / "child") == digests(tmp_path / "parent")


def test_the_library_logs_and_never_prints(
    tiny_model: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    config = DiffusionQuantConfig(bit_width=2, min_accuracy=0.99, modality="image")
    with caplog.at_level(logging.DEBUG, logger="arrow_quant_v2"):
        ArrowQuantV2().quantize_diffusion_model(tiny_model, tmp_path / "out", config)
    by_level: dict[str, list[str]] = {}
    for record in caplog.records:
        assert record.name == "arrow_quant_v2"
        by_level.setdefault(record.levelname, []).append(record.getMessage())
    assert any(text.startswith("quantizing ") for text in by_level["INFO"])
    assert any("to_q.weight → int4: cosine" in text for text in by_level["INFO"])
    assert any("quantized-00001-of-00001.parquet" in text for text in by_level["DEBUG"])
    assert capfd.readouterr() == ("", "")
