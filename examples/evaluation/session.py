"""Session: all runs of an evaluation, printed as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from examples.evaluation.ladder import (
    COMPENSATION,
    DATA_FREE,
    DEFAULT,
    SPATIAL,
    Row,
    Setting,
    ladder,
    neighbours,
)
from examples.evaluation.outcome import Outcome, evaluate
from examples.evaluation.overhead import Overhead, overheads
from examples.evaluation.subject import Subject

DRAWN = ("W4A4 g128",)  # settings all rows of which are let sample


@dataclass(frozen=True)
class Scale:
    """How much is run.

    Attributes
    ----------
    full : bool
        Whether every calibrated row is repeated with all seeds and counts, and let sample; not
        only the best one and the default, and in settings with targets.
    seeds : tuple of int
        Of calibration; the first is that of the ladder.
    trajectories : int
        That calibrate, in the ladder.
    other_trajectories : tuple of int
        Other counts, with the first seed.
    """

    full: bool = False
    seeds: tuple[int, ...] = (0, 1, 2)
    trajectories: int = 32
    other_trajectories: tuple[int, ...] = (8, 128)


@dataclass
class Session:
    """What is evaluated, and what came of it.

    Attributes
    ----------
    subjects, settings
    scale : Scale
    work : Path
        For calibration data and quantized models.
    targets : frozenset of str
        Names of the settings that have a target.
    outcomes : list of Outcome
    overheads : list of Overhead
    """

    subjects: Sequence[Subject]
    settings: Sequence[Setting]
    scale: Scale
    work: Path
    targets: frozenset[str]
    outcomes: list[Outcome] = field(default_factory=list)
    overheads: list[Overhead] = field(default_factory=list)

    def run(self, subject: Subject, tell: Callable[[str], object]) -> None:
        """Make all runs of a subject, and tell each as a line."""
        tell(f"error is the {subject.error_words}")
        for setting in self.settings:
            tell(HEADER.format(setting.name))
            self._climb(subject, setting, tell)
            if self.scale.full or setting.name in self.targets:
                self._repeat(subject, setting, tell)
            if setting.name in self.targets and setting.name not in DRAWN:
                self._move_sideways(subject, setting, tell)

    def measure_time(self, tell: Callable[[str], object]) -> None:
        """Measure what features cost in time, while nothing else runs."""
        for subject in self.subjects:
            for overhead in overheads(subject, self.work, self.scale.trajectories):
                self.overheads.append(overhead)
                tell(f"{subject.name}: {overhead.line()}")

    def main(self, subject: str, setting: str) -> list[Outcome]:
        """Return the outcomes of the ladder: of the first seed and the usual trajectories."""
        return [
            outcome
            for outcome in self.outcomes
            if (outcome.subject, outcome.setting) == (subject, setting)
            and outcome.seed in (-1, self.scale.seeds[0])
            and outcome.trajectories in (0, self.scale.trajectories)
        ]

    def same_row(self, outcome: Outcome) -> list[Outcome]:
        """Return the outcomes of a row with any calibration data."""
        key = (outcome.subject, outcome.setting, outcome.row)
        return [o for o in self.outcomes if (o.subject, o.setting, o.row) == key]

    def over_seeds(self, outcome: Outcome) -> list[Outcome]:
        """Return the outcomes of a row with the usual trajectories, of any seed."""
        usual = (0, self.scale.trajectories)
        return [o for o in self.same_row(outcome) if o.trajectories in usual]

    def _climb(self, subject: Subject, setting: Setting, tell: Callable[[str], object]) -> None:
        rows = {row.name: row for row in ladder(setting)}
        for row in rows.values():
            samples = self.scale.full or setting.name in DRAWN or row.name in (DATA_FREE, DEFAULT)
            self._add(self._evaluate(subject, setting, row, samples), tell)
        main = self.main(subject.name, setting.name)
        for chosen in (best(main, calibrated=False), best(main, calibrated=True)):
            if subject.draws and chosen.measured.psnr_db is None:
                place = self.outcomes.index(chosen)
                self._add(self._evaluate(subject, setting, rows[chosen.row], True), tell)
                self.outcomes[place] = self.outcomes.pop()

    def _evaluate(self, subject: Subject, setting: Setting, row: Row, samples: bool) -> Outcome:
        seed, count = self.scale.seeds[0], self.scale.trajectories
        return evaluate(subject, setting, row, self.work, seed, count, samples)

    def _repeat(self, subject: Subject, setting: Setting, tell: Callable[[str], object]) -> None:
        """Run calibrated rows with other calibration data."""
        main = self.main(subject.name, setting.name)
        names = {row.name for row in ladder(setting) if row.calibrated}
        if not self.scale.full:
            names = {best(main, calibrated=True).row, DEFAULT}
            if setting.name in DRAWN:
                names |= {COMPENSATION, SPATIAL}  # a target compares these
        first, *others = self.scale.seeds
        usual = self.scale.trajectories
        data = [(seed, usual) for seed in others]
        data += [(first, count) for count in self.scale.other_trajectories]
        for row in ladder(setting):
            if row.name in names:
                for seed, count in data:
                    if row.model and count > usual:
                        continue  # it would take longer than all else
                    samples = count == usual
                    outcome = evaluate(subject, setting, row, self.work, seed, count, samples)
                    self._add(outcome, tell)

    def _move_sideways(
        self, subject: Subject, setting: Setting, tell: Callable[[str], object]
    ) -> None:
        """Quantize without data at neighbouring numbers of bits per weight."""
        row = Row(DATA_FREE)
        for other in neighbours(setting):
            if not self.main(subject.name, other.name):
                tell(f"{HEADER.format(other.name)}")
                self._add(evaluate(subject, other, row, self.work, samples=False), tell)

    def _add(self, outcome: Outcome, tell: Callable[[str], object]) -> None:
        self.outcomes.append(outcome)
        tell(line(outcome))


HEADER = "{:<32} {:<16} {:>10} {:>8} {:>8} {:>8} {:>8}".format(
    "{}", "calibrated on", "error", "PSNR dB", "bits +", "bits/w", "seconds"
)


def line(outcome: Outcome) -> str:
    """Return an outcome as a line under `HEADER`."""
    data = f"{outcome.trajectories}, seed {outcome.seed}" if outcome.trajectories else "nothing"
    found = outcome.measured
    psnr = "" if found.psnr_db is None else f"{found.psnr_db:.2f}"
    excess = "" if found.excess_bits is None else f"{found.excess_bits:.4f}"
    return (
        f"  {outcome.row:<30} {data:<16} {found.error:>10.3e} {psnr:>8} {excess:>8} "
        f"{outcome.bits_per_weight:>8.3f} {outcome.seconds:>8.2f}"
    )


def best(outcomes: Iterable[Outcome], calibrated: bool) -> Outcome:
    """Return the outcome of least error, among those with or without calibration data.

    Of equal ones it is the default: features that were tried and not taken make no difference.
    """
    fitting = [outcome for outcome in outcomes if bool(outcome.trajectories) == calibrated]
    defaults = (DATA_FREE, DEFAULT)
    return min(fitting, key=lambda outcome: (outcome.measured.error, outcome.row not in defaults))
