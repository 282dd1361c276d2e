"""The examples of the API reference, with its paths replaced by small real models.

Each test is one example, as a user would type it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from arrow_quant_v2 import (
    ArrowQuantV2,
    AsyncArrowQuantV2,
    BetaSchedule,
    BoundarySmoothingConfig,
    DiffusionQuantConfig,
    InterpolationMethod,
    ThermodynamicConfig,
    TransitionOptimizationConfig,
    ValidationConfig,
)
from tiny import tiny_tensors, write_safetensors


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference's model/, dream-7b/, model.safetensors and model-sharded/, below cwd."""
    monkeypatch.chdir(tmp_path)
    for name in ("model", "model1", "model2", "model3", "dream-7b"):
        Path(name).mkdir()
        write_safetensors(Path(name) / "model.safetensors", tiny_tensors())
    write_safetensors(Path("model.safetensors"), tiny_tensors())
    Path("model-sharded").mkdir()
    tensors = list(tiny_tensors().items())
    for shard in range(3):
        write_safetensors(
            Path(f"model-sharded/model-0000{shard + 1}-of-00003.safetensors"),
            dict(tensors[shard::3]),
        )


def test_basic_quantization() -> None:
    quantizer = ArrowQuantV2(mode="diffusion")
    result = quantizer.quantize_diffusion_model(
        model_path="dream-7b/",
        output_path="dream-7b-int4/",
        config=DiffusionQuantConfig(bit_width=4),
    )
    print("✓ Quantization complete")
    print(f"  Compression: {result['compression_ratio']:.2f}x")
    print(f"  Quality: {result['cosine_similarity']:.4f}")
    print(f"  Size: {result['model_size_mb']:.2f} MB")
    assert result["bit_width"] == 4
    assert set(result) >= {
        "quantized_path",
        "compression_ratio",
        "cosine_similarity",
        "model_size_mb",
        "modality",
        "bit_width",
        "quantization_time_s",
    }


def test_custom_configuration() -> None:
    quantizer = ArrowQuantV2(mode="diffusion")
    config = DiffusionQuantConfig(
        bit_width=2,
        modality="text",
        num_time_groups=20,
        group_size=64,
        enable_time_aware=True,
        enable_spatial=True,
        min_accuracy=0.90,
        calibration_samples=256,
        deployment_profile="cloud",
    )
    result = quantizer.quantize_diffusion_model(
        model_path="model/", output_path="model-int2/", config=config
    )
    assert (result["bit_width"], result["modality"]) == (2, "text")
    assert config.max_memory_limit_mb == 4096, "the profile's, since it was not given"


def test_progress_tracking(capsys: pytest.CaptureFixture[str]) -> None:
    quantizer = ArrowQuantV2(mode="diffusion")

    def progress_callback(message: str, progress: float) -> None:
        bar_length = 40
        filled = int(bar_length * progress)
        bar = "█" * filled + "░" * (bar_length - filled)
        print(f"\r[{bar}] {progress * 100:.1f}% - {message}", end="", flush=True)

    quantizer.quantize_diffusion_model(
        model_path="model/", output_path="model-int4/", progress_callback=progress_callback
    )
    print()  # New line after progress bar
    shown = capsys.readouterr().out
    assert "0.0% - " in shown
    assert f"[{'█' * 40}] 100.0% - " in shown


def test_async_batch_quantization() -> None:
    async def quantize_models() -> None:
        quantizer = AsyncArrowQuantV2()
        models = [
            ("model1/", "model1-int2/", DiffusionQuantConfig(bit_width=2)),
            ("model2/", "model2-int4/", DiffusionQuantConfig(bit_width=4)),
            ("model3/", "model3-int8/", DiffusionQuantConfig(bit_width=8)),
        ]
        results = await quantizer.quantize_multiple_models_async(models)
        for i, result in enumerate(results):
            print(f"Model {i + 1}:")
            print(f"  Compression: {result['compression_ratio']:.2f}x")
            print(f"  Quality: {result['cosine_similarity']:.4f}")
        assert [result["bit_width"] for result in results] == [2, 4, 8]

    asyncio.run(quantize_models())


def test_async_quantization_and_validation() -> None:
    async def main() -> None:
        quantizer = AsyncArrowQuantV2()
        result = await quantizer.quantize_diffusion_model_async(
            model_path="dream-7b/",
            output_path="dream-7b-int2/",
            config=DiffusionQuantConfig(bit_width=2),
        )
        print(f"Compression ratio: {result['compression_ratio']}")
        validation = await quantizer.validate_quality_async(
            original_path="dream-7b/", quantized_path="dream-7b-int2/"
        )
        print(f"Quality: {validation['cosine_similarity']:.4f}")
        assert validation["passed"]

    asyncio.run(main())


def test_arrow_call() -> None:
    quantizer = ArrowQuantV2()
    # Create input table
    table = pa.table(
        {
            "layer_name": ["layer1", "layer2"],
            "weights": [
                np.random.randn(1000).astype(np.float32).tolist(),
                np.random.randn(2000).astype(np.float32).tolist(),
            ],
        }
    )

    # Quantize in batch
    result = quantizer.quantize_batch_arrow(table)

    # Result is a PyArrow RecordBatch (zero-copy)
    assert isinstance(result, pa.RecordBatch)
    assert result.num_rows == 2
    assert result.schema.names[:6] == [
        "layer_name",
        "quantized_data",
        "scales",
        "zero_points",
        "shape",
        "bit_width",
    ]


def test_arrow_schema() -> None:
    # Valid schema
    schema = pa.schema(
        [
            ("layer_name", pa.string()),
            ("weights", pa.list_(pa.float32())),
            ("shape", pa.list_(pa.int64())),
        ]
    )

    table = pa.table(
        {"layer_name": ["layer1"], "weights": [[1.0, 2.0, 3.0]], "shape": [[3]]}, schema=schema
    )
    assert ArrowQuantV2().quantize_batch_arrow(table)["shape"].to_pylist() == [[3]]


def test_arrow_batch_quantization(capsys: pytest.CaptureFixture[str]) -> None:
    # Create input table
    layers = []
    for i in range(10):
        layers.append(
            {
                "layer_name": f"layer_{i}",
                "weights": np.random.randn(1000).astype(np.float32).tolist(),
                "shape": [1000],
            }
        )

    table = pa.table(
        {
            "layer_name": [l["layer_name"] for l in layers],  # noqa: E741
            "weights": [l["weights"] for l in layers],  # noqa: E741
            "shape": [l["shape"] for l in layers],  # noqa: E741
        }
    )

    # Quantize in batch (zero-copy)
    quantizer = ArrowQuantV2()
    result = quantizer.quantize_batch_arrow(table)

    print(f"Quantized {result.num_rows} layers")
    assert capsys.readouterr().out == "Quantized 10 layers\n"


def test_validation() -> None:
    quantizer = ArrowQuantV2(mode="diffusion")
    quantizer.quantize_diffusion_model(model_path="model/", output_path="model-int4/")
    validation = quantizer.validate_quality(original_path="model/", quantized_path="model-int4/")
    if validation["passed"]:
        print("✓ Validation passed")
        print(f"  Overall quality: {validation['cosine_similarity']:.4f}")
        print(f"  Compression: {validation['compression_ratio']:.2f}x")
        for layer, quality in validation["per_layer_accuracy"].items():
            if quality < 0.80:
                print(f"  ⚠ Low quality layer: {layer} ({quality:.4f})")
    assert validation["passed"]
    assert len(validation["per_layer_accuracy"]) == 3


def test_safetensors_quantization() -> None:
    quantizer = ArrowQuantV2(mode="diffusion")
    alone = quantizer.quantize_from_safetensors(
        safetensors_path="model.safetensors", output_path="model-int4/"
    )
    sharded = quantizer.quantize_from_safetensors(
        safetensors_path="model-sharded/", output_path="sharded-int4/"
    )
    assert alone["num_quantized"] == sharded["num_quantized"] == 3


def test_thermodynamic_optimization() -> None:
    quantizer = ArrowQuantV2(mode="diffusion")
    config = DiffusionQuantConfig(
        bit_width=4,
        thermodynamic=ThermodynamicConfig(
            validation=ValidationConfig(
                enabled=True, smoothness_threshold=0.25, log_violations=True
            ),
            boundary_smoothing=BoundarySmoothingConfig(
                enabled=True, window_size=5, interpolation=InterpolationMethod.Linear
            ),
            transition_optimization=TransitionOptimizationConfig(
                enabled=True,
                markov_weight=0.1,
                entropy_weight=0.05,
                learning_rate=0.01,
                max_iterations=50,
                convergence_threshold=1e-4,
                beta_schedule=BetaSchedule.Linear,
            ),
        ),
    )
    result = quantizer.quantize_diffusion_model(
        model_path="model/", output_path="model-int4-optimized/", config=config
    )
    assert result["thermodynamic_applied"] is False, "there is no calibration data"


def test_error_handling() -> None:
    quantizer = ArrowQuantV2()
    met: list[str] = []
    for model, config in [
        ("model/", DiffusionQuantConfig(group_size=100)),
        ("broken/", None),
        ("missing/", None),
    ]:
        Path("broken").mkdir(exist_ok=True)
        Path("broken/model.safetensors").write_bytes(b"not a header")
        try:
            quantizer.quantize_diffusion_model(
                model_path=model, output_path="model-int4/", config=config
            )
        except ValueError as e:
            met.append("ValueError")
            print(f"Configuration error: {e}")
        except RuntimeError as e:
            met.append("RuntimeError")
            print(f"Quantization error: {e}")
        except Exception as e:
            met.append(type(e).__name__)
            print(f"Unexpected error: {e}")
    assert met == ["ValueError", "RuntimeError", "ModelNotFoundError"]


def test_profiles() -> None:
    edge_config = DiffusionQuantConfig.from_profile("edge")
    local_config = DiffusionQuantConfig.from_profile("local")
    cloud_config = DiffusionQuantConfig.from_profile("cloud")
    fields = (
        "bit_width",
        "num_time_groups",
        "group_size",
        "min_accuracy",
        "calibration_samples",
        "enable_streaming",
    )
    table = [
        [getattr(config, field) for field in fields]
        for config in (edge_config, local_config, cloud_config)
    ]
    assert table == [
        [2, 5, 256, 0.65, 32, True],
        [4, 10, 128, 0.85, 128, False],
        [8, 20, 64, 0.95, 512, False],
    ]
