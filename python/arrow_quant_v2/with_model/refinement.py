"""One refinement: corrections that are estimated, tried, and accepted if they help."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrow_quant_v2 import _core
from arrow_quant_v2._core import CancelToken
from arrow_quant_v2.runs import ProgressCallback
from arrow_quant_v2.time_groups import TimeGroups
from arrow_quant_v2.with_model.bias_estimate import LayerShift, estimate_shifts
from arrow_quant_v2.with_model.bias_tables import Tables, bias_tables, bytes_of
from arrow_quant_v2.with_model.calls import ModelCalls
from arrow_quant_v2.with_model.judge import Judge
from arrow_quant_v2.with_model.judgement import LEAST_GAIN, Judgement, known_or_none, step_of_gate
from arrow_quant_v2.with_model.quantized_copy import QuantizedCopy
from arrow_quant_v2.with_model.time_grouping import (
    Begins,
    begins_of,
    calibrating_trajectories,
    time_groups,
    uniform_begins,
)

MIDDLE_GROUPS = 5


@dataclasses.dataclass
class Candidate:
    """Corrections that may be accepted.

    Attributes
    ----------
    name : str
    tables : dict of str to ndarray of float16, [groups or 1, out]
    groups : TimeGroups or None
        None: none of the tables has several groups.
    judgement : Judgement or None
        None before it was tried.
    """

    name: str
    tables: Tables
    groups: TimeGroups | None
    judgement: Judgement | None = None

    @property
    def num_groups(self) -> int:
        """Most groups that a table has."""
        return max((len(table) for table in self.tables.values()), default=0)


class Refinement:
    """Tries corrections on a quantized copy, and writes the best of them.

    What `progress` raises stops the work, and so does `cancel` while the files are written; then
    nothing has changed.
    """

    def __init__(
        self,
        model: Any,
        quantized: QuantizedCopy,
        judge: Judge,
        progress: ProgressCallback,
        cancel: CancelToken | None = None,
    ) -> None:
        self._model = model
        self._quantized = quantized
        self._judge = judge
        self._calls: ModelCalls = judge.calls
        self._progress = progress
        self._cancel = cancel
        self._tried: list[dict[str, Any]] = []

    def run(self, out: Path, num_time_groups: int) -> dict[str, Any]:
        """Return the result of `refine`."""
        quantized = self._quantized
        reason = self._obstacle()
        best: Candidate | None = None
        before = after = Judgement(math.nan, np.zeros(0))
        if not reason:
            self._progress("measuring the error without corrections", 0.0)
            quantized.with_stored_biases()
            before = after = self._judge.judge(quantized.model)
            best = self._best(before, num_time_groups)
            after = before if best is None or best.judgement is None else best.judgement
            reason = "" if best else self._why_none(before.error)
        quantized.with_stored_biases()
        if best is not None:
            self._write(best, out)
        elif out.resolve() != quantized.path.resolve():
            self._revise(out, None, {})
        added = 0 if best is None else bytes_of(best.tables) - quantized.stored_bias_bytes
        return {
            "path": os.fspath(out),
            "accepted": best is not None,
            "reason": reason,
            "groups": 0 if best is None else best.num_groups,
            "corrected_layers": 0 if best is None else len(best.tables),
            "error_before": known_or_none(before.error),
            "error_after": known_or_none(after.error),
            "error_words": self._judge.words,
            "candidates": self._tried,
            "bits_per_weight_before": quantized.bits_per_weight,
            "bits_per_weight_after": quantized.bits_per_weight + 8 * added / quantized.num_weights,
            "num_trajectories": self._calls.num_trajectories,
            "held_out_trajectories": self._calls.num_held_out,
        }

    def _obstacle(self) -> str:
        """Return why nothing can be accepted; "" where something can."""
        count, held_out = self._calls.num_trajectories, self._calls.num_held_out
        if held_out == 0 or held_out == count:
            return (
                f"of {count} trajectories {held_out} are held out: corrections cannot be both "
                "estimated and confirmed; give inputs with 4 or more positions in the batch"
            )
        return ""

    def _best(self, before: Judgement, num_time_groups: int) -> Candidate | None:
        """Try candidates, those with fewer groups first, and return the best, if it helps."""
        shifts = self._estimate(from_outputs=False)
        best, best_begins = None, [0]
        so_far = before
        groupings = self._groupings(shifts, num_time_groups)
        for number, begins in enumerate(groupings):
            self._progress("trying corrections", 0.4 + 0.2 * number / len(groupings))
            candidate = self._candidate(shifts, begins)
            if self._try(candidate, so_far):
                best, best_begins = candidate, begins
                so_far = candidate.judgement or so_far
        others = self._estimate(from_outputs=True)
        candidate = self._candidate(others, best_begins, name="from outputs")
        if self._try(candidate, so_far):
            best, shifts = candidate, others
            so_far = candidate.judgement or so_far
        # Half of it errs half as much, where an estimate is uncertain.
        self._progress("trying corrections", 0.9)
        half = self._candidate(shifts, best_begins, 0.5, "halved")
        return half if self._try(half, so_far) else best

    def _estimate(self, from_outputs: bool) -> dict[str, LayerShift]:
        start = 0.6 if from_outputs else 0.1
        return estimate_shifts(
            self._model,
            self._quantized,
            self._calls,
            from_outputs,
            lambda fraction: self._progress("estimating corrections", start + 0.3 * fraction),
        )

    def _groupings(self, shifts: dict[str, LayerShift], num_time_groups: int) -> list[Begins]:
        """Return groupings of the steps that differ, the coarsest first."""
        stored = self._quantized.time_groups
        if self._quantized.activations_follow_time and stored is not None:
            fixed = begins_of(self._calls, stored)
            return [[0]] if fixed is None or len(fixed) == 1 else [[0], fixed]
        if self._calls.kind == "none" or not shifts:
            return [[0]]
        rows = np.median([shift.rows for shift in shifts.values()], axis=0)
        trajectories = calibrating_trajectories(self._calls)
        found: list[Begins] = []
        for count in sorted({1, min(MIDDLE_GROUPS, num_time_groups), num_time_groups}):
            begins = uniform_begins(self._calls.log_snr, rows, trajectories, count)
            if begins not in found:
                found.append(begins)
        return found

    def _candidate(
        self,
        shifts: dict[str, LayerShift],
        begins: Begins,
        share: float = 1.0,
        name: str = "",
    ) -> Candidate:
        tables = bias_tables(shifts, begins, self._quantized.num_weights, share)
        several = any(len(table) > 1 for table in tables.values())
        groups = None
        if several:
            stored = self._quantized.time_groups
            follow = self._quantized.activations_follow_time
            groups = stored if follow else time_groups(self._calls, begins)
        count = len(begins) if several else 1
        name = f"{count} group{'s' if count > 1 else ''}" + (f", {name}" if name else "")
        return Candidate(name, tables, groups)

    def _try(self, candidate: Candidate, best: Judgement) -> bool:
        """Measure a candidate, note it, and return whether it is better than the best so far."""
        if any(candidate.name == tried["name"] for tried in self._tried):
            return False  # more groups, for which there was no room
        self._quantized.with_biases(candidate.tables, candidate.groups)
        judgement = candidate.judgement = self._judge.judge(self._quantized.model)
        accepted = judgement.is_better_than(best)
        added = bytes_of(candidate.tables) - self._quantized.stored_bias_bytes
        bits = self._quantized.bits_per_weight + 8 * added / self._quantized.num_weights
        described = {"groups": candidate.num_groups, "bits_per_weight": bits}
        entry = step_of_gate(candidate.name, best, judgement, accepted) | described
        self._tried.append({"name": entry.pop("step")} | entry)
        return accepted

    def _why_none(self, before: float) -> str:
        least = min(tried["error_after"] for tried in self._tried)
        return (
            f"no correction lowers the held-out error by {LEAST_GAIN:.0%}: it is "
            f"{before:.4g} without, and {least:.4g} with the best of {len(self._tried)}"
        )

    def _write(self, best: Candidate, out: Path) -> None:
        """Write the corrections of all layers of the component, and the groups they need."""
        quantized = self._quantized
        names = {layer._name for layer in quantized.layers.values()}
        groups: str | None = None
        if best.groups is not None and not quantized.activations_follow_time:
            groups = json.dumps(dataclasses.asdict(best.groups))
        elif quantized.time_groups is not None and not quantized.activations_follow_time:
            groups = ""
        tables = {name: best.tables.get(name) for name in names}
        self._revise(out, groups, tables)

    def _revise(
        self, out: Path, groups: str | None, tables: dict[str, NDArray[np.float16] | None]
    ) -> None:
        self._progress("writing the model", 0.95)
        quantized = self._quantized
        _core.revise_model(
            quantized.path, out, quantized.component, groups, tables, {}, self._cancel
        )
