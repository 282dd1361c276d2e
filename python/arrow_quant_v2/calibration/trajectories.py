"""Numbers the trajectories: which calls of the model go on with which samples."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrow_quant_v2.errors import ConfigurationError


@dataclass
class Trajectories:
    """Follows the calls of a model.

    Attributes
    ----------
    first : int
        Number of the first trajectory.
    branches : int or None
        Guidance branches in a batch, [branch 0 of all, branch 1 of all, …]; None: found out.
    next : int
        The number after those of the current set.
    size : int
        Trajectories in the current set; 0 before the first.
    visits : int
        How many calls in a row had the current timestep.
    """

    first: int
    branches: int | None
    next: int
    size: int = 0
    visits: int = 0
    found_branches: int = 1
    pairs: bool = True  # each timestep came in exactly two calls, so far
    fixed_size: int = 0  # samples of the next set, where the caller knows
    rises: int = 0  # within such sets: calls with a larger timestep than before, less the others

    def begin_set(self, size: int = 0) -> None:
        """Let the next call begin new trajectories, `size` of them if that is known."""
        self._end_step()
        self.size = 0
        self.visits = 0
        self.fixed_size = size

    def place(
        self, batch: int, begins: bool, same_step: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return trajectory and visit, [batch], of a call's positions.

        Parameters
        ----------
        batch : int
            Positions in the batch.
        begins : bool
            Whether the call begins new trajectories; otherwise it goes on with the current ones.
        same_step : bool
            Whether it has the timestep of the call before.
        """
        size = self._samples_in(batch)
        known = self.fixed_size > 0  # then only the caller begins sets
        if (begins and not known) or self.size not in (0, size):
            self.begin_set()
        if self.size == 0:
            self.size = size
            self.next += size
        elif not same_step:
            self._end_step()
        position = np.arange(batch)
        branches = batch // size
        self.found_branches = max(self.found_branches, branches)
        visit = self.visits * branches + position // size
        self.visits += 1
        return self.next - self.size + position % size, visit

    @property
    def count(self) -> int:
        """How many trajectories there are."""
        return self.next - self.first

    def guidance_branches(self) -> int:
        """How many times each step of a trajectory calls the model, as far as that is regular."""
        in_calls = 2 if self.pairs and self.visits == 2 else 1
        return max(self.found_branches, in_calls)

    def state(self) -> dict[str, Any]:
        """Return what `Trajectories(**state)` goes on from."""
        return asdict(self)

    def _samples_in(self, batch: int) -> int:
        if self.fixed_size and batch % self.fixed_size == 0:
            return self.fixed_size
        branches = self.branches or 1
        if batch % branches:
            raise ConfigurationError(
                f"guidance_branches = {branches}: a call has a batch of {batch}, which does not "
                "divide; pass the number of branches that lie in one batch, or 1"
            )
        return batch // branches

    def _end_step(self) -> None:
        self.pairs = self.pairs and self.visits in (0, 2)
        self.visits = 0
