"""One call of the model: which trajectory and step each position of its batch belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from arrow_quant_v2.calibration.row_keys import Keys, row_keys, sample_hashes, smallest

EVERY = 4
REMAINDER = 1

Ints = NDArray[np.int64]


def is_held_out(trajectory: Ints) -> NDArray[np.bool_]:
    """Return which trajectories are only for validation."""
    held_out: NDArray[np.bool_] = trajectory % EVERY == REMAINDER
    return held_out


@dataclass
class Candidates:
    """Rows that may be stored at one step: where they are, their keys and trajectories."""

    entry: Ints
    row: Ints
    keys: Keys
    trajectories: NDArray[np.int32]


@dataclass
class StepRows:
    """Of a layer's input, what belongs to one step."""

    step: int
    counted: Ints  # entries of the first axis that go into the sums
    calibrating: Candidates
    held_out: Candidates


@dataclass
class Selection:
    """Of inputs with one shape: what is counted, what may be stored, what XᵀX sums."""

    steps: list[StepRows]
    calibrating: Ints  # entries of the first axis
    for_xtx: tuple[Ints, Ints] | None  # entries and rows of the sampled positions; None: all


@dataclass
class Call:
    """One call of the model.

    Attributes
    ----------
    index : int
        Number of the call, from 0.
    seed : int
    trajectory, visit, step : ndarray of int64, [batch]
    time : ndarray of float64, [batch]
        Timestep, or masked fraction.
    masked : ndarray of bool, [batch, tokens], or None
    """

    index: int
    seed: int
    rows_per_step: int
    validation_rows_per_step: int
    trajectory: Ints
    visit: Ints
    step: Ints
    time: NDArray[np.float64]
    masked: NDArray[np.bool_] | None = None
    _selections: dict[tuple[int, int, int, int], Selection] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        """Positions in the batch."""
        return len(self.trajectory)

    def is_batched(self, entries: int) -> bool:
        """Return whether a first axis of this length goes with the batch."""
        return entries % self.batch == 0

    def select(self, entries: int, rows: int, occurrence: int, xtx_rows: int) -> Selection:
        """Decide about the rows of an input.

        Parameters
        ----------
        entries : int
            Length of its first axis. A multiple of the batch lies batch by batch; anything else
            belongs to all positions alike.
        rows : int
            Rows in each entry.
        occurrence : int
            How many times the layer was used before in this call.
        xtx_rows : int
            The most rows to choose for XᵀX; 0: no limit.
        """
        key = (entries, rows, occurrence, xtx_rows)
        if key not in self._selections:
            self._selections[key] = self._select(*key)
        return self._selections[key]

    def masks_of(self, entries: int, rows: int) -> NDArray[np.bool_] | None:
        """Return the mask of each row of an input, where its rows are the tokens."""
        if self.masked is None or self.masked.shape != (entries, rows):
            return None
        return self.masked

    def _select(self, entries: int, rows: int, occurrence: int, xtx_rows: int) -> Selection:
        if self.is_batched(entries):
            per_sample = entries // self.batch
            sample = np.arange(entries) // per_sample
            start = np.arange(entries) % per_sample * rows
            groups = self._groups(sample)
        else:
            groups, sample, start = self._shared_groups(entries)
            start = start * rows
        visit = self.visit * 64 + occurrence
        hashes = sample_hashes(self.seed, self.trajectory, self.time, visit)
        steps = []
        for step, counted, held_out in groups:
            steps.append(
                StepRows(
                    step,
                    counted,
                    self._pick(hashes, sample, start, rows, counted, self.rows_per_step),
                    self._pick(
                        hashes, sample, start, rows, held_out, self.validation_rows_per_step
                    ),
                )
            )
        calibrating = np.sort(np.concatenate([g[1] for g in groups]))
        chosen = None
        if 0 < xtx_rows < len(calibrating) * rows:
            picked = self._pick(hashes, sample, start, rows, calibrating, xtx_rows)
            chosen = picked.entry, picked.row
        return Selection(steps, calibrating, chosen)

    def _groups(self, sample: Ints) -> list[tuple[int, Ints, Ints]]:
        """Return of each step the entries that are counted, and those held out."""
        step, held_out = self.step[sample], is_held_out(self.trajectory)[sample]
        return [
            (
                int(s),
                np.flatnonzero((step == s) & ~held_out),
                np.flatnonzero((step == s) & held_out),
            )
            for s in np.unique(step)
        ]

    def _shared_groups(self, entries: int) -> tuple[list[tuple[int, Ints, Ints]], Ints, Ints]:
        """Rows that go with no position count once, as of the first trajectory of each kind."""
        held_out = is_held_out(self.trajectory)
        every, none = np.arange(entries), np.empty(0, np.int64)
        if held_out.all():
            first = 0
            groups = [(int(self.step[0]), none, every)]
        else:
            first = int(np.flatnonzero(~held_out)[0])
            groups = [(int(self.step[first]), every, none)]
        return groups, np.full(entries, first), every

    def _pick(
        self, hashes: Keys, sample: Ints, start: Ints, rows: int, among: Ints, count: int
    ) -> Candidates:
        """Return the rows with the smallest keys among those of some entries."""
        position = start[among][:, None] + np.arange(rows)
        keys = row_keys(hashes[sample[among]][:, None], position).reshape(-1)
        picked = smallest(keys, count)
        entry = among[picked // rows] if rows else among[:0]
        trajectories = self.trajectory[sample[entry]].astype(np.int32)
        return Candidates(entry, picked % max(rows, 1), keys[picked], trajectories)
