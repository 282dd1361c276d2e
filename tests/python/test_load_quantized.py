from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from arrow_quant_v2 import (
    ArrowQuantV2,
    ConfigurationError,
    DiffusionQuantConfig,
    ModelNotFoundError,
    QuantizationError,
    load_quantized,
)
from decoding import unpack
from tiny import QUANTIZED, from_bf16, tiny_tensors, write_safetensors

WEIGHT = "blocks.1.mlp.fc1.weight"  # [96, 200]: a short last group


def stored_rows(directory: Path) -> dict[str, dict[str, Any]]:
    """What pyarrow finds in the part files, by tensor; each is one block here."""
    rows = [row for file in directory.glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    return {row["layer_name"]: row for row in rows}


def decode(row: dict[str, Any]) -> NDArray[np.float64]:
    """The format's formula, in double precision."""
    bits, (out, cols) = row["bit_width"], row["shape"]
    codes = unpack(row["data"], out, cols, bits).astype(np.float64)
    group = np.arange(cols) // row["group_size"]
    scales = np.array(row["scales"], np.float64).reshape(out, -1)[:, group]
    offsets = np.array(row["offsets"], np.float64).reshape(out, -1)
    shift = offsets[:, group] if offsets.size else 0.0
    return np.asarray(row["tensor_scale"] * (scales * codes + shift))


@pytest.mark.parametrize("bit_width", [2, 4, 8])
def test_dequantized_weights_are_what_the_format_says(
    bit_width: int, tiny_model: Path, tmp_path: Path
) -> None:
    config = DiffusionQuantConfig(bit_width=bit_width, group_size=64, min_accuracy=0)
    ArrowQuantV2().quantize_diffusion_model(tiny_model, tmp_path / "out", config)
    rows = stored_rows(tmp_path / "out")
    with load_quantized(tmp_path / "out") as model:
        for name in QUANTIZED:
            tensor = model[name]
            expected = decode(rows[name])
            restored = tensor.dequantize()
            assert (tensor.quant_type, tensor.bit_width) == (f"int{bit_width}", bit_width)
            assert (restored.shape, restored.dtype) == (tensor.shape, np.dtype(np.float32))
            # Two roundings to float32, of a product and of a sum.
            bound = 2**-23 * (2 * np.abs(expected).max())
            np.testing.assert_allclose(restored, expected, rtol=0, atol=bound)
            np.testing.assert_array_equal(tensor.dequantize("float16"), restored.astype(np.float16))


@pytest.mark.parametrize("bit_width", [2, 4, 8])
def test_codes_scales_and_offsets_are_those_in_the_file(
    bit_width: int, tiny_model: Path, tmp_path: Path
) -> None:
    config = DiffusionQuantConfig(bit_width=bit_width, group_size=64, min_accuracy=0)
    ArrowQuantV2().quantize_diffusion_model(tiny_model, tmp_path / "out", config)
    row = stored_rows(tmp_path / "out")[WEIGHT]
    tensor = load_quantized(tmp_path / "out")[WEIGHT]
    assert tensor.codes().shape == (96, 200 * bit_width // 8)
    assert tensor.codes().dtype == (np.int8 if bit_width == 8 else np.uint8)
    assert tensor.codes().tobytes() == row["data"]
    assert tensor.group_size == 64
    assert tensor.scales.shape == (96, 4)
    assert tensor.scales.ravel().tolist() == row["scales"]
    assert tensor.offsets.shape == (96, 0 if bit_width == 8 else 4)
    assert tensor.offsets.ravel().tolist() == row["offsets"]


def test_a_model_is_a_mapping_in_the_order_of_the_source(tiny_int4: Path) -> None:
    model = load_quantized(str(tiny_int4))
    assert isinstance(model, Mapping)
    assert list(model) == list(tiny_tensors())
    assert len(model) == len(tiny_tensors())
    assert WEIGHT in model
    assert "absent" not in model
    assert 3 not in model
    assert [tensor.name for tensor in model.values()] == list(model)
    with pytest.raises(KeyError, match="absent"):
        model["absent"]


def test_kept_tensors_come_back_as_they_were(tiny_int4: Path) -> None:
    with load_quantized(tiny_int4) as model:
        for name, (dtype, array) in tiny_tensors().items():
            tensor = model[name]
            assert tensor.dtype == dtype
            assert tensor.shape == array.shape
            if name in QUANTIZED:
                assert tensor.kept_reason == ""
                continue
            expected = from_bf16(array) if dtype == "BF16" else array  # type: ignore[arg-type]
            restored = tensor.dequantize("float32")
            assert restored.dtype == expected.dtype
            np.testing.assert_array_equal(restored, expected)
            assert tensor.quant_type == "none"
            assert tensor.kept_reason != ""
            assert tensor.metrics == {}
            for read in (tensor.codes, lambda tensor=tensor: tensor.scales):
                with pytest.raises(QuantizationError, match="kept"):
                    read()


def test_metrics_are_those_of_a_comparison_with_the_source(tiny_int4: Path) -> None:
    source = from_bf16(tiny_tensors()[WEIGHT][1]).astype(np.float64)  # type: ignore[arg-type]
    tensor = load_quantized(tiny_int4)[WEIGHT]
    restored = tensor.dequantize().astype(np.float64)
    error = source - restored
    cosine = (source * restored).sum() / np.sqrt((source**2).sum() * (restored**2).sum())
    sqnr_db = 10 * np.log10((source**2).sum() / (error**2).sum())
    # Stored as float32.
    assert tensor.metrics["cosine_similarity"] == pytest.approx(cosine, rel=1e-6)
    assert tensor.metrics["sqnr_db"] == pytest.approx(sqnr_db, rel=1e-6)
    assert tensor.metrics["max_abs_error"] == pytest.approx(np.abs(error).max(), rel=1e-6)


def test_the_manifest_is_that_of_the_directory(tiny_int4: Path) -> None:
    model = load_quantized(tiny_int4)
    assert model.path == str(tiny_int4)
    assert isinstance(model.manifest, dict)
    assert model.manifest is model.manifest


def test_nothing_is_read_that_was_not_asked_for(tiny_int4: Path) -> None:
    """One tensor's codes are broken on disk: the model opens, and only that tensor fails."""
    [part] = tiny_int4.glob("*.parquet")
    codes = stored_rows(tiny_int4)[WEIGHT]["data"]
    content = part.read_bytes()
    assert content.count(codes) == 1
    position = content.index(codes) + len(codes) // 2
    flipped = bytes([content[position] ^ 1])
    part.write_bytes(content[:position] + flipped + content[position + 1 :])

    model = load_quantized(tiny_int4)
    for name, tensor in model.items():
        if name != WEIGHT:
            tensor.dequantize()
    assert model[WEIGHT].metrics["cosine_similarity"] > 0.9
    with pytest.raises(QuantizationError, match=WEIGHT):
        model[WEIGHT].dequantize()


def test_arrays_own_their_memory(tiny_int4: Path) -> None:
    model = load_quantized(tiny_int4)
    first, second = model[WEIGHT].dequantize(), model[WEIGHT].dequantize()
    codes, scales = model[WEIGHT].codes(), model[WEIGHT].scales
    copies = [array.copy() for array in (first, codes, scales)]
    model.close()
    del model
    gc.collect()
    for array, copy in zip((first, codes, scales), copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    first[...] = 0
    np.testing.assert_array_equal(second, copies[0])


def test_a_closed_model_says_so(tiny_int4: Path) -> None:
    with load_quantized(tiny_int4) as model:
        tensor = model[WEIGHT]
    assert list(model) == list(tiny_tensors())
    for read in (tensor.dequantize, tensor.codes, lambda: model[WEIGHT]):
        with pytest.raises(ValueError, match="closed"):
            read()
    model.close()


def test_threads_may_share_a_model(tiny_int4: Path) -> None:
    with load_quantized(tiny_int4) as model, ThreadPoolExecutor(4) as pool:
        expected = {name: tensor.dequantize() for name, tensor in model.items()}
        names = list(model) * 20
        for name, array in zip(
            names, pool.map(lambda n: model[n].dequantize(), names), strict=True
        ):
            np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize("dtype", ["complex64", "int8", ">f4", "nonsense", object, None])
def test_another_dtype_is_refused_with_what_is_allowed(dtype: Any, tiny_int4: Path) -> None:
    with pytest.raises(ConfigurationError, match="'float64', 'float32', 'float16'"):
        load_quantized(tiny_int4)[WEIGHT].dequantize(dtype)


def test_float64_is_exact_for_kept_tensors_of_that_type_and_float32_for_others(
    tiny_model: Path, tmp_path: Path
) -> None:
    import torch

    third = np.full(64, 1 / 3)  # float32 does not have it
    name = "blocks.0.norm.scale"
    write_safetensors(tiny_model / "model.safetensors", tiny_tensors() | {name: ("F64", third)})
    ArrowQuantV2().quantize_diffusion_model(tiny_model, tmp_path / "int4", DiffusionQuantConfig())
    model = load_quantized(tmp_path / "int4")
    np.testing.assert_array_equal(model[name].dequantize("float64"), third)
    assert model[name].dequantize(torch.float64).tolist() == third.tolist()
    widened = model[WEIGHT].dequantize(np.float64)
    assert widened.dtype == np.float64
    np.testing.assert_array_equal(widened, model[WEIGHT].dequantize())


def test_bfloat16_needs_torch_and_says_so(tiny_int4: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"torch\.bfloat16"):
        load_quantized(tiny_int4)[WEIGHT].dequantize("bfloat16")


@pytest.mark.parametrize("dtype", ["f4", np.float32, np.dtype("float32")])
def test_a_dtype_may_be_given_in_every_way_of_numpy(dtype: Any, tiny_int4: Path) -> None:
    assert load_quantized(tiny_int4)[WEIGHT].dequantize(dtype).dtype == np.float32


def test_torch_tensors_have_the_same_values(tiny_int4: Path) -> None:
    import torch

    with load_quantized(tiny_int4) as model:
        for tensor in model.values():
            expected = torch.from_numpy(tensor.dequantize())
            for dtype in (torch.float32, torch.float16, torch.bfloat16):
                restored = tensor.dequantize(dtype)
                if expected.dtype.is_floating_point:
                    assert restored.dtype == dtype
                assert torch.equal(restored, expected.to(restored.dtype))


def test_torch_is_not_imported_unless_asked_for(tiny_int4: Path) -> None:
    code = f"""import sys, arrow_quant_v2
for tensor in arrow_quant_v2.load_quantized({str(tiny_int4)!r}).values():
    tensor.dequantize("float16")
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unfinished_directory_is_no_model(tiny_int4: Path) -> None:
    (tiny_int4 / "manifest.json").unlink()
    with pytest.raises(ModelNotFoundError, match=r"manifest\.json"):
        load_quantized(tiny_int4)


@pytest.mark.parametrize("bit_width", [2, 8])
def test_codes_and_parameters_can_be_read_at_once(
    bit_width: int, tiny_model: Path, tmp_path: Path
) -> None:
    config = DiffusionQuantConfig(bit_width=bit_width, group_size=64, min_accuracy=0)
    ArrowQuantV2().quantize_diffusion_model(tiny_model, tmp_path / "out", config)
    row = stored_rows(tmp_path / "out")[WEIGHT]
    tensor = load_quantized(tmp_path / "out")[WEIGHT]
    packed = tensor.packed()
    np.testing.assert_array_equal(packed.codes, tensor.codes())
    np.testing.assert_array_equal(packed.scales, tensor.scales)
    np.testing.assert_array_equal(packed.offsets, tensor.offsets)
    assert packed.tensor_scale.tolist() == [row["tensor_scale"]] * 96
    with pytest.raises(QuantizationError, match="kept"):
        load_quantized(tmp_path / "out")["mask"].packed()
