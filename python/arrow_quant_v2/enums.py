"""The words that options take, as enumerations.

Their members are strings: ``Modality.Image == "image"``, and either may be given to an option.
"""

from __future__ import annotations

from enum import Enum


class _Word(str, Enum):
    def __str__(self) -> str:
        return str.__str__(self)

    def __format__(self, format_spec: str) -> str:
        return str.__format__(self, format_spec)


class Modality(_Word):
    """What a model makes."""

    Text = "text"
    Code = "code"
    Image = "image"
    Audio = "audio"


class DeploymentProfile(_Word):
    """Where a quantized model is to run; sets defaults of other options."""

    Edge = "edge"
    Local = "local"
    Cloud = "cloud"


class InterpolationMethod(_Word):
    """The curve from one group's parameters to the next one's, around their boundary.

    Linear is continuous, Cubic up to its second derivative, Sigmoid slow at both ends.
    """

    Linear = "linear"
    Cubic = "cubic"
    Sigmoid = "sigmoid"


class BetaSchedule(_Word):
    """How noise grows over the timesteps, for models that do not say so themselves."""

    Linear = "linear"
    Cosine = "cosine"
