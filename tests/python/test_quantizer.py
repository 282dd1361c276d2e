from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arrow_quant_v2 import (
    ArrowQuantV2,
    ConfigurationError,
    DiffusionQuantConfig,
    ModelNotFoundError,
    inspect_model,
    load_quantized,
)
from folders import digests
from tiny import QUANTIZED, tiny_tensors, write_safetensors

MANIFEST = "manifest.json"


def many_weights(directory: Path, count: int) -> Path:
    directory.mkdir()
    weight = tiny_tensors()[QUANTIZED[0]]
    tensors = {f"blocks.{i}.attn.to_q.weight": weight for i in range(count)}
    write_safetensors(directory / "model.safetensors", tensors)
    return directory


@pytest.mark.parametrize("bit_width", [2, 4, 8])
def test_a_result_has_the_keys_of_the_reference(
    bit_width: int, tiny_model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    config = DiffusionQuantConfig(bit_width=bit_width, min_accuracy=0)
    result = ArrowQuantV2(mode="diffusion").quantize_diffusion_model(
        model_path=str(tiny_model), output_path=str(output), config=config
    )
    assert result["quantized_path"] == str(output)
    assert result["bit_width"] == bit_width
    assert result["modality"] == "image"
    assert 1 < result["compression_ratio"] < 16 / bit_width
    assert 0.8 < result["cosine_similarity"] < 1
    assert result["model_size_mb"] * 1e6 == pytest.approx(
        sum(file.stat().st_size for file in output.glob("*.parquet"))
    )
    assert result["quantization_time_s"] > 0
    quantized = [layer["name"] for layer in result["layers"] if layer["quant_type"] != "none"]
    assert sorted(quantized) == sorted(QUANTIZED)


def test_validation_has_the_keys_of_the_reference(tiny_model: Path, tiny_int4: Path) -> None:
    validation = ArrowQuantV2().validate_quality(tiny_model, tiny_int4)
    assert validation["passed"] is True
    assert sorted(validation["per_layer_accuracy"]) == sorted(QUANTIZED)
    values = validation["per_layer_accuracy"].values()
    assert validation["cosine_similarity"] == pytest.approx(sum(values) / len(values))
    assert validation["compression_ratio"] > 1
    assert validation["model_size_mb"] > 0


def test_validation_measures_what_quantization_reported(tiny_model: Path, tmp_path: Path) -> None:
    quantizer = ArrowQuantV2()
    result = quantizer.quantize_diffusion_model(tiny_model, tmp_path / "out")
    validation = quantizer.validate_quality(tiny_model, tmp_path / "out")
    assert validation["cosine_similarity"] == pytest.approx(result["cosine_similarity"], abs=1e-9)
    assert validation["compression_ratio"] == pytest.approx(result["compression_ratio"])


def test_only_known_modes_are_taken() -> None:
    assert ArrowQuantV2().mode == "diffusion"
    assert ArrowQuantV2(mode="base").mode == "base"
    with pytest.raises(ConfigurationError, match='mode = "fast": allowed are diffusion, base'):
        ArrowQuantV2(mode="fast")


@pytest.mark.parametrize(
    ("quantizer", "config", "embedder"),
    [
        (None, None, "none"),
        ("diffusion", None, "none"),
        ("base", None, "int4"),
        (None, "base", "int4"),
        ("diffusion", "base", "none"),
        ("base", "diffusion", "int4"),
    ],
)
def test_the_quantizers_mode_wins_over_the_configs(
    quantizer: str | None, config: str | None, embedder: str, tmp_path: Path
) -> None:
    tensors = {"model.embed_tokens.weight": tiny_tensors()[QUANTIZED[0]]}
    write_safetensors(tmp_path / "model.safetensors", tensors)
    given = None if config is None else DiffusionQuantConfig(mode=config)
    result = ArrowQuantV2(quantizer).quantize_diffusion_model(
        tmp_path / "model.safetensors", tmp_path / "out", given
    )
    assert [layer["quant_type"] for layer in result["layers"]] == [embedder]
    if given is not None:
        assert given.mode == config


def test_paths_may_be_path_objects_with_any_name(tiny_model: Path, tmp_path: Path) -> None:
    source = tiny_model.rename(tmp_path / "modèle 模型")
    result = ArrowQuantV2().quantize_diffusion_model(source, tmp_path / "größe 4")
    assert result["quantized_path"] == str(tmp_path / "größe 4")
    assert (tmp_path / "größe 4" / MANIFEST).is_file()


def test_a_path_of_another_type_is_a_type_error(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="PathLike"):
        ArrowQuantV2().quantize_diffusion_model(3, tmp_path / "out")  # type: ignore[arg-type]


def test_a_config_of_another_type_is_a_type_error(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="config"):
        ArrowQuantV2().quantize_diffusion_model(
            tiny_model,
            tmp_path / "out",
            {"bit_width": 4},  # type: ignore[arg-type]
        )


@pytest.mark.parametrize("path", ["model.safetensors", "."])
def test_safetensors_are_taken_as_a_file_or_a_directory(
    path: str, tiny_model: Path, tmp_path: Path
) -> None:
    fractions: list[float] = []
    result = ArrowQuantV2().quantize_from_safetensors(
        safetensors_path=tiny_model / path,
        output_path=tmp_path / "out",
        config=DiffusionQuantConfig(bit_width=8),
        progress_callback=lambda message, fraction: fractions.append(fraction),
    )
    assert (result["num_quantized"], result["bit_width"]) == (len(QUANTIZED), 8)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)


def test_a_file_of_another_kind_is_not_taken_for_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"pickle")
    with pytest.raises(ModelNotFoundError, match=r"\.safetensors"):
        ArrowQuantV2().quantize_from_safetensors(path, tmp_path / "out")


def test_inspection_of_a_source_says_what_quantizing_does(tiny_model: Path, tmp_path: Path) -> None:
    config = DiffusionQuantConfig(bit_width=8)
    source = inspect_model(tiny_model, config)
    assert source["kind"] == "source"
    planned = {layer["name"]: layer["quant_type"] for layer in source["layers"]}
    assert set(planned) == set(tiny_tensors())
    ArrowQuantV2().quantize_diffusion_model(tiny_model, tmp_path / "out", config)
    quantized = inspect_model(tmp_path / "out")
    assert quantized["kind"] == "quantized"
    assert {layer["name"]: layer["quant_type"] for layer in quantized["layers"]} == planned


def test_progress_goes_from_zero_to_one_and_never_back(tiny_model: Path, tmp_path: Path) -> None:
    calls: list[tuple[str, float]] = []
    threads: set[int] = set()

    def progress(message: str, fraction: float) -> None:
        calls.append((message, fraction))
        threads.add(threading.get_ident())
        finished = (tmp_path / "out" / MANIFEST).exists()
        assert finished == (fraction == 1.0)

    ArrowQuantV2().quantize_diffusion_model(
        tiny_model, tmp_path / "out", progress_callback=progress
    )
    fractions = [fraction for _, fraction in calls]
    assert fractions[0] == 0.0
    assert fractions[-1] == 1.0
    assert fractions == sorted(fractions)
    assert all(isinstance(message, str) and message for message, _ in calls)
    assert threading.get_ident() not in threads  # which waits without the GIL


class Refusal(Exception):
    pass


@pytest.mark.parametrize("at", [0.0, 0.01, 1.0])
def test_an_exception_in_the_callback_comes_out_as_it_is(
    at: float, tiny_model: Path, tmp_path: Path
) -> None:
    refusal = Refusal()
    calls = 0

    def progress(message: str, fraction: float) -> None:
        nonlocal calls
        if fraction >= at:
            calls += 1
            raise refusal

    with pytest.raises(Refusal) as caught:
        ArrowQuantV2().quantize_diffusion_model(
            tiny_model, tmp_path / "out", progress_callback=progress
        )
    assert caught.value is refusal
    assert calls == 1
    assert (tmp_path / "out" / MANIFEST).exists() == (at == 1.0)


def test_a_stopped_run_is_taken_up_by_the_next(tiny_model: Path, tmp_path: Path) -> None:
    def refuse(message: str, fraction: float) -> None:
        if fraction > 0:
            raise Refusal

    quantizer = ArrowQuantV2()
    with pytest.raises(Refusal):
        quantizer.quantize_diffusion_model(tiny_model, tmp_path / "a", progress_callback=refuse)
    quantizer.quantize_diffusion_model(tiny_model, tmp_path / "a")
    quantizer.quantize_diffusion_model(tiny_model, tmp_path / "b")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


@pytest.mark.parametrize("callback", [lambda: None, lambda message: None])
def test_a_callback_with_other_parameters_is_a_type_error(
    callback: Any, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match="positional argument"):
        ArrowQuantV2().quantize_diffusion_model(
            tiny_model, tmp_path / "out", progress_callback=callback
        )


def test_a_callback_that_cannot_be_called_is_refused_before_work(
    tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match="progress_callback"):
        ArrowQuantV2().quantize_diffusion_model(
            tiny_model,
            tmp_path / "out",
            progress_callback="loud",  # type: ignore[arg-type]
        )
    assert not (tmp_path / "out").exists()


def test_ctrl_c_stops_a_run(tmp_path: Path) -> None:
    """The signal comes while a callback sleeps; work that went on would finish the output."""
    model = many_weights(tmp_path / "model", 8)
    sent = False

    def progress(message: str, fraction: float) -> None:
        nonlocal sent
        if not sent:
            sent = True
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)

    with pytest.raises(KeyboardInterrupt):
        ArrowQuantV2().quantize_diffusion_model(model, tmp_path / "out", progress_callback=progress)
    assert sent
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_two_threads_may_quantize_at_once(tmp_path: Path) -> None:
    model = many_weights(tmp_path / "model", 4)
    quantizer = ArrowQuantV2()
    met = threading.Barrier(2, timeout=60)

    def run(name: str) -> dict[str, Any]:
        def progress(message: str, fraction: float) -> None:
            if fraction == 0.0:
                met.wait()  # both runs are inside the library now

        return quantizer.quantize_diffusion_model(
            model, tmp_path / name, progress_callback=progress
        )

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(run, ["a", "b"])
    assert first["cosine_similarity"] == second["cosine_similarity"]
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_uneven_columns_are_evened_out_where_weights_gain_by_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = np.exp2(rng.uniform(-3, 3, 256)).astype(np.float32)
    weights = {
        "uneven.weight": rng.standard_normal((1024, 256)).astype(np.float32) * sizes,
        "even.weight": rng.standard_normal((1024, 256)).astype(np.float32),
    }
    write_safetensors(
        tmp_path / "model.safetensors", {name: ("F32", w) for name, w in weights.items()}
    )
    sqnr = {}
    for spatial in (False, True):
        out = tmp_path / str(spatial)
        config = DiffusionQuantConfig(enable_spatial=spatial)
        result = ArrowQuantV2().quantize_diffusion_model(
            tmp_path / "model.safetensors", out, config
        )
        assert (result["spatial_applied"], result["calibration"]) == (spatial, "none")
        for name, weight in weights.items():
            error = load_quantized(out)[name].dequantize() - weight
            sqnr[name, spatial] = 10 * np.log10(np.sum(weight**2) / np.sum(error**2))
            layer = next(layer for layer in result["layers"] if layer["name"] == name)
            assert layer["sqnr_db"] == pytest.approx(sqnr[name, spatial], abs=1e-3)
            scaled = spatial and name == "uneven.weight"
            assert (layer["extras"] is not None) == scaled
    assert sqnr["uneven.weight", True] > sqnr["uneven.weight", False] + 0.2
    assert sqnr["even.weight", True] == sqnr["even.weight", False]
