from __future__ import annotations

import errno
import pickle
import re
from pathlib import Path

import pytest

import arrow_quant_v2
from arrow_quant_v2 import (
    ArrowQuantError,
    ArrowQuantV2,
    ConfigurationError,
    DiffusionQuantConfig,
    MetadataError,
    ModelNotFoundError,
    QuantizationError,
    ShapeMismatchError,
    TableError,
    ValidationError,
    errors,
    load_quantized,
)
from tiny import negated, tiny_tensors, write_safetensors


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (ConfigurationError, ValueError),
        (QuantizationError, RuntimeError),
        (ValidationError, RuntimeError),
        (MetadataError, RuntimeError),
        (MetadataError, QuantizationError),
        (ModelNotFoundError, FileNotFoundError),
        (TableError, ValueError),
        (ShapeMismatchError, ValueError),
    ],
)
def test_each_exception_is_also_the_builtin_that_it_resembles(
    error: type[ArrowQuantError], builtin: type[Exception]
) -> None:
    assert issubclass(error, ArrowQuantError)
    assert issubclass(error, builtin)
    assert str(error("what and where")) == "what and where"
    assert getattr(arrow_quant_v2, error.__name__) is error


def test_the_documentation_lists_each_exception_with_what_it_also_is() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "python.md"
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    classes = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, ArrowQuantError)
    }
    assert sorted(name for name, _ in rows) == sorted(classes)
    for name, base in rows:
        assert base in [parent.__name__ for parent in classes[name].__mro__[1:]]


def test_an_option_that_is_not_allowed_is_a_configuration_error(
    tiny_model: Path, tmp_path: Path
) -> None:
    config = DiffusionQuantConfig(bit_width=3)
    with pytest.raises(ConfigurationError, match="bit_width = 3") as caught:
        ArrowQuantV2().quantize_diffusion_model(tiny_model, tmp_path / "out", config)
    assert caught.value.code == "InvalidBitWidth"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("call", ["quantize", "validate", "load", "inspect"])
def test_a_path_without_a_model_is_a_model_not_found_error(call: str, tmp_path: Path) -> None:
    missing = tmp_path / "mis\udcffsing"  # a name that is not UTF-8
    calls = {
        "quantize": lambda: ArrowQuantV2().quantize_diffusion_model(missing, tmp_path / "out"),
        "validate": lambda: ArrowQuantV2().validate_quality(missing, missing),
        "load": lambda: load_quantized(missing),
        "inspect": lambda: arrow_quant_v2.inspect_model(missing),
    }
    with pytest.raises(ModelNotFoundError, match=r"mis\\xffsing") as caught:
        calls[call]()
    assert caught.value.code == "ModelNotFound"
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == str(missing)


def test_a_quantized_model_that_contradicts_itself_is_a_metadata_error(
    tiny_model: Path, tiny_int4: Path
) -> None:
    manifest = tiny_int4 / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format_version"', '"fmt"'))
    with pytest.raises(MetadataError, match="manifest"):
        load_quantized(tiny_int4)
    with pytest.raises(ValidationError, match=r"cannot compare: .*manifest") as caught:
        ArrowQuantV2().validate_quality(tiny_model, tiny_int4)
    assert caught.value.code == "Validation"


def test_poor_quality_is_a_result_and_not_an_error(tiny_model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_safetensors(other / "model.safetensors", negated(tiny_tensors()))
    ArrowQuantV2().quantize_diffusion_model(other, tmp_path / "out")
    validation = ArrowQuantV2().validate_quality(tiny_model, tmp_path / "out")
    assert validation["passed"] is False
    assert validation["cosine_similarity"] < -0.9


def test_what_the_operating_system_refuses_has_its_number_and_file(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "options.yaml"
    with pytest.raises(QuantizationError, match="No such file") as caught:
        DiffusionQuantConfig().to_yaml(path)
    assert caught.value.code == "Io"
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename is not None
    assert caught.value.filename.startswith(str(path.parent))


def test_options_that_cannot_be_read_are_a_wrong_configuration(tmp_path: Path) -> None:
    path = tmp_path / "missing.yaml"
    with pytest.raises(ConfigurationError, match="No such file") as caught:
        DiffusionQuantConfig.from_yaml(path)
    assert caught.value.code == "Configuration"
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == str(path)


def test_a_broken_model_is_a_quantization_error(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(QuantizationError, match=r"model\.safetensors") as caught:
        ArrowQuantV2().quantize_from_safetensors(path, tmp_path / "out")
    assert caught.value.code == "InvalidModel"
    assert caught.value.errno is None


@pytest.mark.parametrize("error", [QuantizationError, ModelNotFoundError, MetadataError])
def test_exceptions_survive_pickling(error: type[ArrowQuantError]) -> None:
    raised = error("what and where")
    raised.code = "Io"
    raised.filename = "file"  # type: ignore[attr-defined]
    restored = pickle.loads(pickle.dumps(raised))
    assert type(restored) is error
    assert str(restored) == "what and where"
    assert restored.code == "Io"
    assert restored.filename == "file"  # type: ignore[attr-defined]
