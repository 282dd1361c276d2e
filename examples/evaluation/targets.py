"""Targets: what calibration is to gain, and what it gained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean

from examples.evaluation.ladder import COMPENSATION, DATA_FREE, DEFAULT, SPATIAL
from examples.evaluation.outcome import Outcome
from examples.evaluation.session import Session, best

# Settings, and how many times smaller the error is to be than the best without calibration data.
SMALLER = {"W2A16 g64": 2.0, "W4A16 g128": 2.0}
# Settings, and how much better the PSNR of samples is to be with spatial features, in dB.
CLEARER = {"W4A4 g128": 4.0}
TARGETS = frozenset(SMALLER) | frozenset(CLEARER)


@dataclass(frozen=True)
class Target:
    """One line of the table of targets.

    Attributes
    ----------
    subject, what : str
    wanted, found : float
    unit : str
        "times" or "dB".
    """

    subject: str
    what: str
    wanted: float
    found: float
    unit: str

    @property
    def reached(self) -> bool:
        """Whether it is."""
        return self.found >= self.wanted


def targets(session: Session) -> Iterator[Target]:
    """Yield the targets of all settings that were run."""
    for subject in session.subjects:
        for setting, wanted in SMALLER.items():
            main = session.main(subject.name, setting)
            rows = {outcome.row: outcome for outcome in main}
            if DEFAULT in rows:
                chosen = {
                    f"{setting}, the default": rows[DEFAULT],
                    f"{setting}, the best row ({best(main, True).row})": best(main, True),
                }
                for what, outcome in chosen.items():
                    yield Target(subject.name, what, wanted, gain(session, outcome), "times")
        for setting, wanted in CLEARER.items():
            rows = {outcome.row: outcome for outcome in session.main(subject.name, setting)}
            if subject.draws and SPATIAL in rows:
                better = _psnr(session, rows[SPATIAL]) - _psnr(session, rows[COMPENSATION])
                what = f"{setting}, with spatial features over without"
                yield Target(subject.name, what, wanted, better, "dB")


def gain(session: Session, outcome: Outcome) -> float:
    """Return how many times smaller a row's error is than the best one without data.

    The error is the mean over seeds; that without data is taken at the same stored bits per weight.
    """
    seeds = session.over_seeds(outcome)
    error = mean(o.measured.error for o in seeds)
    bits = mean(o.bits_per_weight for o in seeds)
    without = best(session.main(outcome.subject, outcome.setting), calibrated=False)
    return without.measured.error * change_by_bits(session, without, bits) / error


def _psnr(session: Session, outcome: Outcome) -> float:
    """Return the mean over seeds of a row's PSNR, in dB."""
    found = [o.measured.psnr_db for o in session.over_seeds(outcome)]
    return mean(db for db in found if db is not None)


def change_by_bits(session: Session, without: Outcome, bits: float) -> float:
    """Return the factor by which a data-free error changes from its own bits per weight to `bits`.

    The logarithm of the error of least-error scales is interpolated between group sizes; beyond the
    last group size it stays.
    """
    weights = without.setting.split()[0]  # "W4A16" of "W4A16 g128"
    points = sorted(
        (o.bits_per_weight, math.log(o.measured.error))
        for o in session.outcomes
        if o.subject == without.subject and o.setting.split()[0] == weights and o.row == DATA_FREE
    )
    return math.exp(_between(points, bits) - _between(points, without.bits_per_weight))


def _between(points: list[tuple[float, float]], x: float) -> float:
    """Return y at x on straight lines through points that are sorted by x."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * (max(x, x0) - x0) / (x1 - x0)
    return points[-1][1]
