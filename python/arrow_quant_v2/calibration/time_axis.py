"""The steps of a calibration: the timesteps that occurred, put together where they are many."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_STEPS = 128


class TimeAxis:
    """Gives each timestep a step.

    While a collection runs there may be up to twice as many steps as the file may have, so that
    they need not be put together at each new timestep.

    Attributes
    ----------
    kind : str
        "timestep", "masked_fraction" or "none".
    bins : list of list of float
        Of each step its timesteps, ascending. A step's number is its place here.
    """

    def __init__(self, kind: str, bins: Iterable[Iterable[float]] = ()) -> None:
        self.kind = kind
        self.bins = [list(times) for times in bins]

    def add(self, times: NDArray[np.float64]) -> list[int] | None:
        """Make room for the timesteps of a call.

        Returns
        -------
        list of int or None
            The new number of each old step, where they changed.
        """
        new = [t for t in np.unique(times).tolist() if self._find(t) is None]
        if not new:
            return None
        old = self.bins
        self.bins = sorted([*old, *([t] for t in new)])
        if len(self.bins) > 2 * MAX_STEPS:
            self._merge_neighbours()
        return [self._number(times[0]) for times in old]

    def steps_of(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the step of each timestep."""
        distinct, places = np.unique(times, return_inverse=True)
        steps = np.array([self._number(t) for t in distinct.tolist()], np.int64)
        return steps[places]

    def finish(self) -> list[int]:
        """Put steps together until a file may hold them, and return the new numbers."""
        old = self.bins
        if len(old) > MAX_STEPS:
            self._merge_neighbours()
        return [self._number(times[0]) for times in old]

    def described(
        self,
        log_snr: Callable[[NDArray[np.float64]], NDArray[np.float64]],
        schedule: str,
        smaller_is_noisier: bool = False,
    ) -> tuple[dict[str, Any], list[int]]:
        """Return the `time_axis` of a file's metadata, and the place of each step in it.

        Parameters
        ----------
        log_snr : callable
            From timesteps to log-SNR.
        schedule : str
            Where that came from.
        smaller_is_noisier : bool
        """
        means = []
        for times in self.bins:
            values = np.array(times, np.float64)
            means.append((float(log_snr(values).mean()), float(values.mean())))
        order = list(range(len(means)))
        if not smaller_is_noisier:
            order.reverse()
        steps = [{"timestep": means[i][1], "log_snr": means[i][0]} for i in order]
        return {"kind": self.kind, "schedule": schedule, "steps": steps}, order

    def all_times(self) -> NDArray[np.float64]:
        """Return all timesteps, ascending."""
        return np.array([time for times in self.bins for time in times], np.float64)

    def _find(self, time: float) -> int | None:
        for number, times in enumerate(self.bins):
            if times[0] <= time <= times[-1]:
                return number
        return None

    def _number(self, time: float) -> int:
        number = self._find(time)
        assert number is not None
        return number

    def _merge_neighbours(self) -> None:
        """Make at most MAX_STEPS of them, with about as many timesteps in each."""
        total = len(self.all_times())
        merged: dict[int, list[float]] = {}
        before = 0
        for times in self.bins:
            middle = 2 * before + len(times)
            merged.setdefault(middle * MAX_STEPS // (2 * total), []).extend(times)
            before += len(times)
        self.bins = list(merged.values())
