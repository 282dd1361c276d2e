"""Overhead: what a feature costs in time while quantizing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.evaluation.outcome import quantize
from examples.evaluation.subject import Subject, calibration_file

TIMES = 3  # the least time counts: the rest is other work of the machine
PHASES = {
    "enable_markov_validation": True,
    "log_violations": False,
    "enable_boundary_smoothing": True,
    "enable_transition_optimization": True,
}
BASE: dict[str, Any] = {"bit_width": 4, "group_size": 128, "min_accuracy": 0.0}


@dataclass(frozen=True)
class Overhead:
    """Seconds with and without.

    Attributes
    ----------
    subject, feature, without : str
        Whose, of what, and compared with what.
    seconds, seconds_without : float
    """

    subject: str
    feature: str
    without: str
    seconds: float
    seconds_without: float

    @property
    def ratio(self) -> float:
        """How many times as long it takes."""
        return self.seconds / self.seconds_without

    def line(self) -> str:
        """Return it as a line of text."""
        return (
            f"{self.feature}: {self.seconds:.2f} s, {self.without}: {self.seconds_without:.2f} s "
            f"({self.ratio:.2f} times)"
        )


def overheads(subject: Subject, work: Path, trajectories: int) -> Iterator[Overhead]:
    """Measure what calibration data and the thermodynamic phases cost, at 4 bits."""
    data = {
        "calibration_path": str(calibration_file(subject, work, 0, trajectories)),
        "calibration_samples": trajectories,
    }
    target = work / subject.name / "quantized"
    plain = _seconds(subject, target, BASE)
    calibrated = _seconds(subject, target, BASE | data)
    yield Overhead(subject.name, "with calibration data", "without", calibrated, plain)
    static = BASE | data | {"activation_bits": 4, "activation_mode": "static"}
    without, phases = (_seconds(subject, target, static | more) for more in ({}, PHASES))
    yield Overhead(subject.name, "W4A4 static, all phases", "no phase", phases, without)


def _seconds(subject: Subject, target: Path, options: Mapping[str, Any]) -> float:
    return min(quantize(subject, target, options)[1] for _ in range(TIMES))
