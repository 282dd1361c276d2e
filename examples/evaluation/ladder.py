"""The rows of the tables: what is quantized how, and which row shows what a feature is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

ROUNDED = "round to nearest"
LEAST_ERROR = "least error"
DATA_FREE = "default without data"
COMPENSATION = "compensation"
SPATIAL = "spatial"
DEFAULT = "default"
HIGH_QUALITY = "high quality"
WITH_MODEL = "default with the model"

STATIC = {"activation_mode": "static"}
STATIC_RANGES = "static ranges, 10 groups"
# Nothing that depends on the time, and ranges of inputs whole.
WHOLE_RANGES = {"enable_time_aware": False, "enable_activation_clipping": False}
# What touches weights alone.
WEIGHTS_ONLY = {"enable_spatial": False} | WHOLE_RANGES


@dataclass(frozen=True)
class Setting:
    """Bits and groups: rows of one setting store the same number of bits per weight, or nearly.

    Attributes
    ----------
    name : str
        "W4A16 g128": bits of weights and of activations, weights that share a scale.
    options : mapping
        Of `DiffusionQuantConfig`.
    """

    name: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One way to quantize within a setting.

    Attributes
    ----------
    name : str
    options : mapping
        Of `DiffusionQuantConfig`, on top of the setting's.
    calibrated : bool
        Whether it is given calibration data.
    against : str
        The row that lacks the feature which this one has, and nothing else; "" for none.
    feature : str
        What the two differ in, in words.
    model : bool
        Whether the quantizer is given the model to run, so that its predictions decide.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    calibrated: bool = False
    against: str = ""
    feature: str = ""
    model: bool = False


SMOOTHING = Row(
    "smoothing",
    {"rotation": "off"} | WHOLE_RANGES,
    calibrated=True,
    against=COMPENSATION,
    feature="smoothing of inputs",
)
# Rotated inputs, as most are in later rows, are not clipped.
CLIPPED = Row(
    "clipping without rotation",
    {"enable_spatial": False, "enable_time_aware": False},
    calibrated=True,
    against=COMPENSATION,
    feature="clipping of activations that are not rotated",
)
ROTATION = Row("", WHOLE_RANGES, calibrated=True, feature="rotation of inputs")
JUDGEMENT = Row(
    WITH_MODEL,
    calibrated=True,
    against=DEFAULT,
    feature="judgement by the model's predictions, and corrected biases",
    model=True,
)
JUDGED = ("W2A16 g64", "W4A16 g128", "W4A4 g128")  # it takes most of the time


def settings() -> list[Setting]:
    """Return what the ladder is climbed at."""
    return [
        _setting(8, 128, activations=8),
        _setting(4, 128, activations=8),
        _setting(4, 128, activations=4),
        _setting(2, 64),
        _setting(2, 256),
        _setting(4, 128),
    ]


def neighbours(setting: Setting) -> list[Setting]:
    """Return the settings with fewer and more scales, which have fewer and more bits per weight.

    Between their data-free errors that at any number of bits is interpolated.
    """
    bits, group = setting.options["bit_width"], setting.options["group_size"]
    return [_setting(bits, size) for size in (group // 2, group * 2) if 32 <= size <= 256]


def ladder(setting: Setting) -> list[Row]:
    """Return the rows of a setting, from rounding to nearest to everything."""
    bits, activations = setting.options["bit_width"], setting.options.get("activation_bits")
    rows = [
        Row(ROUNDED, {"method": "rtn"} | WEIGHTS_ONLY),
        Row(LEAST_ERROR, WEIGHTS_ONLY, against=ROUNDED, feature="scales of least error"),
        Row(DATA_FREE, against=LEAST_ERROR, feature="equalization of columns without data"),
        Row(
            "importance",
            {"compensation": "off"} | WEIGHTS_ONLY,
            calibrated=True,
            against=LEAST_ERROR,
            feature="scales weighted by the power of inputs",
        ),
        Row(
            COMPENSATION,
            WEIGHTS_ONLY,
            calibrated=True,
            against="importance",
            feature="compensation (GPTQ)",
        ),
    ]
    if activations:
        rows += [SMOOTHING, replace(ROTATION, name=SPATIAL, against=SMOOTHING.name)]
        rows += _of_activations(activations)
    elif bits == 2:
        rows.append(replace(ROTATION, name=DEFAULT, against=COMPENSATION))
    else:
        rows.append(Row(DEFAULT, calibrated=True))
    if bits < 8:
        rows.append(Row(HIGH_QUALITY, {"quality": "high"}, True, DEFAULT, "low rank"))
    if setting.name in JUDGED:
        rows.append(JUDGEMENT)
    return rows


def _of_activations(bits: int) -> list[Row]:
    """Return rows that choose how activations are quantized at each time."""
    phases = {
        "boundary smoothing": {"enable_boundary_smoothing": True},
        "transition optimization": {"enable_transition_optimization": True},
    }
    rows = []
    if bits == 4:  # at 8 bits ranges are those of each row, whole
        one, *more = _time_groups("clipping", {}, last=DEFAULT)
        one = replace(one, against=SPATIAL, feature="clipping of activations")
        rows += [CLIPPED, one, *more]
    else:
        rows.append(Row(DEFAULT, calibrated=True))
    rows += _time_groups("static ranges", STATIC, last=STATIC_RANGES)
    rows += [
        Row(f"static, {phase}", STATIC | options, True, STATIC_RANGES, phase)
        for phase, options in phases.items()
    ]
    return rows


def _time_groups(name: str, options: Mapping[str, Any], last: str) -> list[Row]:
    """Return rows with at most 1, 5 and 10 groups of timesteps; the row of 10 is named `last`."""
    words = "{} groups of timesteps instead of {} (" + name + ")"
    one, five = f"{name}, 1 group", f"{name}, 5 groups"
    return [
        Row(one, {**options, "num_time_groups": 1}, True),
        Row(five, {**options, "num_time_groups": 5}, True, one, words.format(5, 1)),
        Row(last, {**options, "num_time_groups": 10}, True, five, words.format(10, 5)),
    ]


def _setting(bits: int, group: int, activations: int | None = None) -> Setting:
    # Layers below the default of min_accuracy would get more bits, and rows could not be compared.
    options: dict[str, Any] = {"bit_width": bits, "group_size": group, "min_accuracy": 0.0}
    if activations:
        options["activation_bits"] = activations
    return Setting(f"W{bits}A{activations or 16} g{group}", options)
