"""DiffusionQuantConfig: options as arguments, attributes, YAML and environment."""

from __future__ import annotations

import copy
import errno
import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arrow_quant_v2 import (
    BetaSchedule,
    ConfigurationError,
    DeploymentProfile,
    DiffusionQuantConfig,
    InterpolationMethod,
    Modality,
    QuantizationError,
    ThermodynamicConfig,
    _core,
)

# The reference's table, and what this library adds to it.
PROFILES = {
    "edge": (2, 5, 256, 0.65, 32, True, 256),
    "local": (4, 10, 128, 0.85, 128, False, 1024),
    "cloud": (8, 20, 64, 0.95, 512, False, 4096),
}
PROFILE_OPTIONS = (
    "bit_width",
    "num_time_groups",
    "group_size",
    "min_accuracy",
    "calibration_samples",
    "enable_streaming",
    "max_memory_limit_mb",
)
POSITIONAL = {
    "bit_width": 4,
    "modality": None,
    "num_time_groups": 10,
    "group_size": 128,
    "enable_time_aware": True,
    "enable_spatial": True,
    "min_accuracy": 0.85,
    "calibration_samples": 128,
    "deployment_profile": "local",
    "fail_fast": False,
    "enable_transition_optimization": False,
    "markov_weight": 0.1,
    "entropy_weight": 0.05,
    "learning_rate": 0.01,
    "max_iterations": 50,
    "convergence_threshold": 1e-4,
    "beta_schedule": "linear",
}


@pytest.mark.parametrize("profile", [*PROFILES, *DeploymentProfile])
def test_a_profile_sets_the_defaults_of_what_is_not_given(profile: str) -> None:
    for config in (
        DiffusionQuantConfig.from_profile(profile),
        DiffusionQuantConfig(deployment_profile=profile),
    ):
        assert config.deployment_profile == profile
        values = tuple(getattr(config, name) for name in PROFILE_OPTIONS)
        assert values == PROFILES[profile]
    given = DiffusionQuantConfig(8, deployment_profile=profile)
    assert (given.bit_width, given.group_size) == (8, PROFILES[profile][2])


def test_all_options_of_the_reference_may_be_given_by_position() -> None:
    defaults = list(POSITIONAL.values())
    assert DiffusionQuantConfig(*defaults) == DiffusionQuantConfig()
    for i, name in enumerate(POSITIONAL):
        assert getattr(DiffusionQuantConfig(*defaults[: i + 1]), name) == defaults[i]


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
        ("calibration_path", Path("data/calibration.parquet"), "data/calibration.parquet"),
        ("modality", Modality.Image, "image"),
        ("beta_schedule", BetaSchedule.Cosine, "cosine"),
        ("activation_bits", 8, 8),
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
        ("components", {"unet": 4}, "list of strings"),
        ("components", {"unet": "4"}, "dict from str to int"),
        ("activation_bits", "8", "4, 8"),
        ("interpolation", "quintic", "linear, cubic, sigmoid"),
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
        ({"num_time_groups": 0}, "num_time_groups = 0"),
        ({"learning_rate": 0}, "learning_rate = 0.0"),
        ({"markov_weight": float("inf")}, "markov_weight = inf"),
        ({"activation_bits": 2}, "activation_bits = 2"),
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
        ((), {"gpu": True}, "gpu"),
        ((*POSITIONAL.values(), 2), {}, "up to beta_schedule"),
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
        DiffusionQuantConfig(enable_markov_validation=True, activation_bits=8),
    ],
    ids=repr,
)
def test_repr_copy_pickle_and_yaml_give_an_equal_config(
    config: DiffusionQuantConfig, tmp_path: Path
) -> None:
    config.to_yaml(tmp_path / "config.yaml")
    for other in (
        eval(repr(config)),
        copy.copy(config),
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),
        DiffusionQuantConfig(**config.to_dict()),
        DiffusionQuantConfig.from_yaml(tmp_path / "config.yaml"),
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
    assert defaults.pop("thermodynamic") is None
    assert defaults == DiffusionQuantConfig().to_dict()
    positional = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert {name: defaults[name] for name in positional} == POSITIONAL


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


def test_a_config_that_is_not_allowed_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    with pytest.raises(ConfigurationError, match="group_size = 100"):
        DiffusionQuantConfig(group_size=100).to_yaml(path)
    assert not path.exists()
    with pytest.raises(QuantizationError, match="No such file") as caught:
        DiffusionQuantConfig().to_yaml(tmp_path / "missing" / "config.yaml")
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize(
    ("enumeration", "option"),
    [
        (Modality, "modality"),
        (DeploymentProfile, "deployment_profile"),
        (InterpolationMethod, "interpolation"),
        (BetaSchedule, "beta_schedule"),
    ],
)
def test_an_enumeration_has_the_words_of_its_option(
    enumeration: type[Modality], option: str
) -> None:
    [allowed] = [o["allowed"] for o in _core.config_options() if o["name"] == option]
    assert ", ".join(enumeration) == allowed
    for member in enumeration:
        assert member.name == member.value.capitalize()
        assert f"{member}" == str(member) == member.value
        assert enumeration(member.value) is member
        assert {member: 1}[member.value] == 1  # type: ignore[index]
        config = DiffusionQuantConfig(**{option: member})
        assert getattr(config, option) == member


def test_arguments_come_before_files_and_files_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARROW_QUANT_DEPLOYMENT_PROFILE", "edge")
    monkeypatch.setenv("ARROW_QUANT_GROUP_SIZE", "64")
    monkeypatch.setenv("ARROW_QUANT_BITS", "8")
    monkeypatch.setenv("ARROW_QUANT_MARKOV_WEIGHT", "0.5")
    path = tmp_path / "config.yaml"
    path.write_text("group_size: 32\n")
    made = DiffusionQuantConfig(bit_width=4)
    assert (made.bit_width, made.group_size, made.num_time_groups) == (4, 64, 5)
    assert made.thermodynamic.transition_optimization.markov_weight == 0.5
    read = DiffusionQuantConfig.from_yaml(path)
    assert (read.bit_width, read.group_size, read.num_time_groups) == (8, 32, 5)
    profile = DiffusionQuantConfig.from_profile("cloud")
    assert (profile.bit_width, profile.group_size, profile.num_time_groups) == (8, 64, 20)
    given = DiffusionQuantConfig(thermodynamic=ThermodynamicConfig())
    assert given.markov_weight == 0.1
    for config in (made, read, profile, given):
        assert eval(repr(config)) == config
        assert pickle.loads(pickle.dumps(config)) == config


def test_a_wrong_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARROW_QUANT_GROUP_SIZE", "100")
    with pytest.raises(
        ConfigurationError,
        match=r"^ARROW_QUANT_GROUP_SIZE: group_size = 100: allowed are 32, 64, 128, 256$",
    ):
        DiffusionQuantConfig()
