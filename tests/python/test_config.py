from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arrow_quant_v2 import ConfigurationError, DiffusionQuantConfig


@pytest.mark.parametrize(
    ("profile", "bit_width", "group_size", "min_accuracy"),
    [("edge", 2, 256, 0.65), ("local", 4, 128, 0.85), ("cloud", 8, 64, 0.95)],
)
def test_a_profile_sets_the_defaults_of_what_is_not_given(
    profile: str, bit_width: int, group_size: int, min_accuracy: float
) -> None:
    for config in (
        DiffusionQuantConfig.from_profile(profile),
        DiffusionQuantConfig(deployment_profile=profile),
    ):
        assert config.deployment_profile == profile
        assert config.bit_width == bit_width
        assert config.group_size == group_size
        assert config.min_accuracy == min_accuracy
    given = DiffusionQuantConfig(8, deployment_profile=profile)
    assert (given.bit_width, given.group_size) == (8, group_size)


def test_bit_width_and_modality_may_be_given_by_position() -> None:
    config = DiffusionQuantConfig(2, "text")
    assert (config.bit_width, config.modality) == (2, "text")


def test_bits_is_another_name_of_bit_width() -> None:
    config = DiffusionQuantConfig(bits=8)
    assert config.bit_width == 8
    config.bits = 2
    assert config.bit_width == 2
    assert "bits" not in config.to_dict()


def test_every_option_can_be_read_and_set_to_what_it_is() -> None:
    config = DiffusionQuantConfig()
    for name, value in config.to_dict().items():
        setattr(config, name, value)
        assert getattr(config, name) == value
    assert config == DiffusionQuantConfig()


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("bit_width", np.int64(8), 8),
        ("min_accuracy", 1, 1.0),
        ("min_accuracy", np.float32(0.5), 0.5),
        ("modality", "audio", "audio"),
        ("modality", None, None),
        ("components", ("unet", "vae"), ["unet", "vae"]),
        ("components", None, []),
        ("fail_fast", True, True),
        ("variant", "fp16", "fp16"),
    ],
)
def test_values_are_stored_as_the_option_has_them(name: str, value: Any, stored: Any) -> None:
    config = DiffusionQuantConfig(**{name: value})
    assert getattr(config, name) == stored
    assert type(getattr(config, name)) is type(stored)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("bit_width", "4", "2, 4, 8"),
        ("bit_width", 4.0, "2, 4, 8"),
        ("bit_width", True, "2, 4, 8"),
        ("bit_width", None, "2, 4, 8"),
        ("bit_width", 10**30, "2, 4, 8"),
        ("group_size", "large", "32, 64, 128, 256"),
        ("modality", "smell", "text, code, image, audio"),
        ("deployment_profile", "moon", "edge, local, cloud"),
        ("min_accuracy", "high", "0 … 1"),
        ("components", "unet", "list of strings"),
        ("components", [1], "list of str"),
        ("fail_fast", 1, "true, false"),
        ("method", b"rtn", "list of str"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_what_is_allowed(
    name: str, value: Any, allowed: str
) -> None:
    config = DiffusionQuantConfig()
    with pytest.raises(ConfigurationError, match=allowed) as by_argument:
        DiffusionQuantConfig(**{name: value})
    with pytest.raises(ConfigurationError) as by_attribute:
        setattr(config, name, value)
    assert str(by_argument.value) == str(by_attribute.value)
    assert str(by_argument.value).startswith(f"{name} = ")
    assert config == DiffusionQuantConfig()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"bit_width": 3}, "bit_width = 3"),
        ({"group_size": 100}, "group_size = 100"),
        ({"min_accuracy": 1.5}, "min_accuracy = 1.5"),
        ({"min_accuracy": float("nan")}, "min_accuracy = nan"),
        ({"num_threads": -1}, "num_threads = -1"),
        ({"components": [""]}, "components"),
    ],
)
def test_validate_holds_values_against_their_range(options: dict[str, Any], named: str) -> None:
    config = DiffusionQuantConfig(**options)
    with pytest.raises(ConfigurationError, match=named):
        config.validate()


def test_the_defaults_and_all_profiles_are_valid() -> None:
    for profile in ("edge", "local", "cloud"):
        DiffusionQuantConfig.from_profile(profile).validate()


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {"bit_with": 4}, "did you mean bit_width"),
        ((), {"num_time_groups": 10}, "num_time_groups"),
        ((4, None, 128), {}, "by position"),
        ((4,), {"bit_width": 4}, "twice"),
        ((4,), {"bits": 4}, "twice"),
    ],
)
def test_wrong_calls_are_type_errors(
    args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        DiffusionQuantConfig(*args, **kwargs)


def test_a_name_that_is_no_option_cannot_be_set() -> None:
    with pytest.raises(AttributeError):
        DiffusionQuantConfig().bit_with = 4  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "config",
    [
        DiffusionQuantConfig(),
        DiffusionQuantConfig.from_profile("edge"),
        DiffusionQuantConfig(2, "image", components=["unet"], variant="it's"),
        DiffusionQuantConfig(deployment_profile="cloud", bit_width=4, min_accuracy=0.1),
    ],
    ids=repr,
)
def test_repr_copy_and_pickle_give_an_equal_config(config: DiffusionQuantConfig) -> None:
    for other in (
        eval(repr(config)),
        copy.copy(config),
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),
        DiffusionQuantConfig(**config.to_dict()),
    ):
        assert other == config
        other.overwrite = not other.overwrite
        assert other != config


def test_a_config_is_equal_to_nothing_else_and_has_no_hash() -> None:
    config = DiffusionQuantConfig()
    assert config != config.to_dict()
    assert config is not None
    with pytest.raises(TypeError):
        hash(config)


def test_the_signature_lists_every_option_with_its_default() -> None:
    parameters = inspect.signature(DiffusionQuantConfig).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    assert defaults.pop("bits") == 4
    assert defaults == DiffusionQuantConfig().to_dict()
    positional = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == ["bit_width", "modality"]


def test_the_documentation_names_every_option() -> None:
    documentation = inspect.getdoc(DiffusionQuantConfig) or ""
    for name in DiffusionQuantConfig().to_dict():
        assert f"\n{name} : " in documentation


def test_yaml_gives_what_keyword_arguments_give(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("deployment_profile: edge\nbits: 4\ncomponents: [unet]\n")
    given = DiffusionQuantConfig(deployment_profile="edge", bit_width=4, components=["unet"])
    assert DiffusionQuantConfig.from_yaml(path) == given
    assert DiffusionQuantConfig.from_yaml(str(path)) == given


def test_yaml_errors_say_file_line_and_what_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("fail_fast: true\ngroup_size: 100\n")
    with pytest.raises(ConfigurationError, match=r"config\.yaml:2.*100.*32, 64, 128, 256"):
        DiffusionQuantConfig.from_yaml(path)
