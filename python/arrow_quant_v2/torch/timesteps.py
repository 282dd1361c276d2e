"""The timestep of a forward pass: where it comes from, and how layers get to know it."""

# torch is not fully typed, and is nothing but Any where its types are left out.
# mypy: disable-error-code="no-any-return, no-untyped-call"

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from arrow_quant_v2.calibration.model_call import TIME_NAMES, mask_token_of, read_call
from arrow_quant_v2.errors import ConfigurationError
from arrow_quant_v2.time_groups import TimeGroups
from arrow_quant_v2.torch.moment import Moment


class Timesteps:
    """The timesteps of one forward pass: one for all samples of the batch, or one for each."""

    def __init__(self, values: Iterable[float], setter: object, outer: Timesteps | None) -> None:
        self.values = tuple(values)
        self.setter = setter  # the hook; None where set by hand
        self.outer = outer  # what was current before
        self._moments: tuple[TimeGroups, tuple[Moment, ...]] | None = None

    def moments(self, groups: TimeGroups) -> tuple[Moment, ...]:
        """Return where the samples are in the grid: one for all where they are together."""
        if self._moments is None or self._moments[0] is not groups:
            found = tuple(Moment.at(value, groups) for value in self.values)
            self._moments = groups, found[:1] if len(set(found)) == 1 else found
        return self._moments[1]


_CURRENT: ContextVar[Timesteps | None] = ContextVar("arrow_quant_v2_timesteps", default=None)


@contextmanager
def timestep(value: Any) -> Iterator[None]:
    """Say at which timestep a model runs, where it is not one of its arguments.

    Models that `load_model` filled pick up their argument ``timestep``, ``t``, ``sigma`` or the
    like, and masked text models count their masks. What is set by hand wins over that.

    Parameters
    ----------
    value : float, tensor or sequence of float
        In the units of the calibration: the timestep as the model gets it; for masked text models
        the fraction of tokens that are masked, 0 … 1. One for all samples, or one for each.

    Examples
    --------
    >>> import torch
    >>> from arrow_quant_v2.torch import timestep
    >>> layer = torch.nn.Linear(2, 2)
    >>> with timestep(500):
    ...     output = layer(torch.zeros(1, 2))
    """
    token = _CURRENT.set(Timesteps(_floats(value), None, _CURRENT.get()))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current_moments(groups: TimeGroups | None, layer: str) -> tuple[Moment, ...]:
    """Return where the samples of the current forward pass are in the grid.

    Raises
    ------
    ConfigurationError
        If no timestep is known, or the model came without a grid.
    """
    now = _CURRENT.get()
    if now is None or groups is None:
        if groups is not None and groups.kind == "masked_fraction":
            remedy = "call the whole model, with a mask_token_id in its config"
        else:
            remedy = f"call the whole model with its argument ({', '.join(TIME_NAMES)})"
        raise ConfigurationError(
            f"{layer} has parameters for several groups of timesteps, and the timestep is not "
            f"known: {remedy}, or set it by hand: with arrow_quant_v2.torch.timestep(t): …"
        )
    return now.moments(groups)


class PickUpTimestep:
    """A pair of hooks of a model: takes the timestep from a call, and forgets it afterwards.

    It is found among the arguments as calibration finds it, `calibration.model_call`.
    """

    def __init__(self, model: nn.Module, groups: TimeGroups) -> None:
        self._kind = groups.kind
        model.register_forward_pre_hook(self.before, with_kwargs=True)
        model.register_forward_hook(self.after, always_call=True)

    def before(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Make the call's timestep the current one, unless one was set by hand."""
        now = _CURRENT.get()
        if now is not None and now.setter is None:
            return
        mask = mask_token_of(model) if self._kind == "masked_fraction" else None
        call = read_call(model, args, kwargs, mask)
        if call.kind == self._kind:
            _CURRENT.set(Timesteps(call.time.tolist(), self, now))

    def after(self, model: nn.Module, args: Any, output: Any) -> None:
        """Go back to what was current before."""
        now = _CURRENT.get()
        if now is not None and now.setter is self:
            _CURRENT.set(now.outer)


def _floats(value: Any) -> list[float]:
    values = torch.as_tensor(value) if not isinstance(value, Tensor) else value
    return [float(v) for v in values.detach().reshape(-1).tolist()]
