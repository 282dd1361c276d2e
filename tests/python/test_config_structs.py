"""ThermodynamicConfig and its parts: the same options as structs."""

from __future__ import annotations

import copy
import gc
import pickle
from pathlib import Path

import pytest

from arrow_quant_v2 import (
    BetaSchedule,
    BoundarySmoothingConfig,
    ConfigurationError,
    DiffusionQuantConfig,
    InterpolationMethod,
    ThermodynamicConfig,
    TransitionOptimizationConfig,
    ValidationConfig,
)

# As the reference spells it.
ALL_PHASES = ThermodynamicConfig(
    validation=ValidationConfig(enabled=True, smoothness_threshold=0.25, log_violations=True),
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
)


def test_the_struct_and_the_flat_names_are_one_value() -> None:
    config = DiffusionQuantConfig(markov_weight=0.5, thermodynamic=None)
    transition = config.thermodynamic.transition_optimization
    assert transition.markov_weight == 0.5
    transition.markov_weight = 0.75
    transition.beta_schedule = "cosine"
    assert (config.markov_weight, config.beta_schedule) == (0.75, "cosine")
    config.thermodynamic = ALL_PHASES
    assert config.enable_boundary_smoothing
    assert transition.markov_weight == 0.1
    config.window_size = 7
    assert ALL_PHASES.boundary_smoothing.window_size == 5  # was copied into the config


def test_a_struct_outlives_the_config_that_it_came_from() -> None:
    validation = DiffusionQuantConfig(smoothness_threshold=0.5).thermodynamic.validation
    gc.collect()
    assert validation == ValidationConfig(smoothness_threshold=0.5)


def test_struct_and_flat_arguments_may_both_be_given_if_they_agree() -> None:
    config = DiffusionQuantConfig(
        max_iterations=50, beta_schedule=BetaSchedule.Linear, thermodynamic=ALL_PHASES
    )
    assert config.thermodynamic == ALL_PHASES
    with pytest.raises(
        ConfigurationError,
        match=r"^max_iterations = 5, but thermodynamic\.\w+\.max_iterations = 50",
    ):
        DiffusionQuantConfig(max_iterations=5, thermodynamic=ALL_PHASES)
    with pytest.raises(ConfigurationError, match="a ThermodynamicConfig is needed"):
        DiffusionQuantConfig(thermodynamic={"validation": True})  # type: ignore[arg-type]


def test_structs_are_values() -> None:
    for value in (
        ALL_PHASES,
        ALL_PHASES.validation,
        BoundarySmoothingConfig(window_size=9, interpolation="cubic"),
        TransitionOptimizationConfig(learning_rate=1e-5),
    ):
        for other in (
            eval(repr(value)),
            copy.copy(value),
            copy.deepcopy(value),
            pickle.loads(pickle.dumps(value)),
        ):
            assert other == value
            assert other is not value
        assert value != type(value)()
        with pytest.raises(TypeError):
            hash(value)


def test_structs_refuse_what_a_config_refuses() -> None:
    with pytest.raises(ConfigurationError, match="allowed are linear, cubic, sigmoid"):
        BoundarySmoothingConfig(interpolation="quintic")
    with pytest.raises(ConfigurationError, match="an integer is needed"):
        BoundarySmoothingConfig().window_size = 2.5  # type: ignore[assignment]
    with pytest.raises(TypeError, match="windowsize"):
        BoundarySmoothingConfig(windowsize=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        ThermodynamicConfig(validation=True)  # type: ignore[arg-type]
    config = DiffusionQuantConfig(thermodynamic=ThermodynamicConfig())
    config.thermodynamic.boundary_smoothing.window_size = 0
    with pytest.raises(ConfigurationError, match="window_size = 0"):
        config.validate()


def test_yaml_may_nest_the_structs(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "thermodynamic:\n  validation: {enabled: true}\n"
        "  transition_optimization:\n    markov_weight: 0.5\n"
    )
    given = DiffusionQuantConfig(enable_markov_validation=True, markov_weight=0.5)
    assert DiffusionQuantConfig.from_yaml(path) == given
