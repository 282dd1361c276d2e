"""Cuts the steps of a calibration into groups that share a bias correction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arrow_quant_v2.time_groups import TimeGroups
from arrow_quant_v2.with_model.calls import ModelCalls

MAX_GROUPS = 256  # that corrections are tried for
LEAST_ROWS = 64
LEAST_TRAJECTORIES = 4
WIDEST_LOG_SNR = 10.0  # what is noisier or cleaner looks the same

Begins = list[int]  # the first step of each group; the first one's is 0


def uniform_begins(
    log_snr: NDArray[np.float64],
    rows: NDArray[np.float64],
    trajectories: list[set[int]],
    max_groups: int,
) -> Begins:
    """Cut steps into groups of about equal spans of log-SNR, as the library's C++ does.

    Parameters
    ----------
    log_snr : ndarray of float64, [steps]
        Never falling.
    rows : ndarray of float64, [steps]
        What each step's estimate rests on.
    trajectories : list of set of int
        Calibrating ones of each step.
    max_groups : int
        At least 1.

    Returns
    -------
    list of int
        The first step of each group. A group has 64 rows and 4 trajectories, or all that there
        are, where they are fewer.
    """
    steps = len(log_snr)
    ends = [_least_end(begin, rows, trajectories) for begin in range(steps)]
    level = np.clip(log_snr, -WIDEST_LOG_SNR, WIDEST_LOG_SNR)
    span = (level[-1] - level[0]) / max_groups
    begins = [0]
    for group in range(1, max_groups):
        begin = ends[begins[-1]]
        while begin < steps and level[begin] < level[0] + span * group:
            begin += 1
        # What is left must do for a group; else it belongs to the one before.
        if begin >= steps or ends[begin] > steps:
            break
        begins.append(begin)
    return begins


def _least_end(begin: int, rows: NDArray[np.float64], trajectories: list[set[int]]) -> int:
    """Return one past the last step of the shortest group from `begin`; steps + 1: none is."""
    least_rows = min(LEAST_ROWS, rows.sum())
    least_trajectories = min(LEAST_TRAJECTORIES, len(set().union(*trajectories)))
    seen: set[int] = set()
    for end in range(begin, len(rows)):
        seen |= trajectories[end]
        enough = rows[begin : end + 1].sum() >= least_rows
        if enough and len(seen) >= least_trajectories:
            return end + 1
    return len(rows) + 1


def calibrating_trajectories(calls: ModelCalls) -> list[set[int]]:
    """Return the calibrating trajectories that come to each step."""
    found: list[set[int]] = [set() for _ in calls.timesteps]
    for call in calls:
        for step, trajectory, held_out in zip(
            call.step.tolist(), call.trajectory.tolist(), call.held_out.tolist(), strict=True
        ):
            if not held_out:
                found[step].add(trajectory)
    return found


def time_groups(calls: ModelCalls, begins: Begins) -> TimeGroups:
    """Describe groups, with boundaries midway between their steps."""

    def between(values: NDArray[np.float64]) -> tuple[float, ...]:
        return tuple(float(values[b - 1] + values[b]) / 2 for b in begins[1:])

    return TimeGroups(
        kind=calls.kind,
        schedule=calls.schedule,
        timesteps=tuple(calls.timesteps.tolist()),
        log_snr=tuple(calls.log_snr.tolist()),
        boundaries_timestep=between(calls.timesteps),
        boundaries_log_snr=between(calls.log_snr),
        interpolation="",
        window=0,
    )


def begins_of(calls: ModelCalls, groups: TimeGroups) -> Begins | None:
    """Return the first step of each group of a grid; None where a group has no step."""
    of_step = [groups.group_of(time) for time in calls.timesteps.tolist()]
    begins = [of_step.index(g) for g in range(len(groups)) if g in of_step]
    ascending = of_step == sorted(of_step)
    return begins if ascending and len(begins) == len(groups) else None
