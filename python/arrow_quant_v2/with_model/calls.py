"""ModelCalls: the calls of a model, with the trajectory and step of each position in the batch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrow_quant_v2.calibration.arena import Arena
from arrow_quant_v2.calibration.calibration_data import read_metadata
from arrow_quant_v2.calibration.call import is_held_out
from arrow_quant_v2.calibration.collector import Collector, Settings
from arrow_quant_v2.calibration.inputs import load_inputs
from arrow_quant_v2.calibration.metadata import collected_metadata
from arrow_quant_v2.calibration.model_call import arguments_of, mask_token_of, read_call
from arrow_quant_v2.calibration.noise_levels import noise_levels
from arrow_quant_v2.calibration.require import require_model
from arrow_quant_v2.calibration.run import on_device
from arrow_quant_v2.errors import ConfigurationError, ModelNotFoundError
from arrow_quant_v2.torch.timesteps import timestep
from arrow_quant_v2.with_model.prediction import prediction_of

Inputs = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class CallOptions:
    """How calls are told apart; each None: found out, or as the calibration file has it.

    Attributes
    ----------
    guidance_branches : int or None
        Branches that lie in one batch.
    smaller_is_noisier : bool or None
        Whether the timestep rises from noise to result.
    mask_token_id : int or None
        Of a text model without a timestep.
    scheduler : object
        Where log-SNR comes from.
    beta_schedule : str or None
        In place of a scheduler.
    """

    guidance_branches: int | None = None
    smaller_is_noisier: bool | None = None
    mask_token_id: int | None = None
    scheduler: Any = None
    beta_schedule: str | None = None


@dataclass
class PlacedCall:
    """One call.

    Attributes
    ----------
    time : ndarray of float64, [batch]
        Timestep, or masked fraction.
    trajectory, step : ndarray of int64, [batch]
    masked : ndarray of bool, [batch, tokens], or None
        Of a masked text model.
    arguments : dict
        Keyword arguments; positional ones under "args".
    """

    time: NDArray[np.float64]
    trajectory: NDArray[np.int64]
    step: NDArray[np.int64]
    masked: NDArray[np.bool_] | None
    arguments: Mapping[str, Any]

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Which positions of the batch are of held-out trajectories."""
        return is_held_out(self.trajectory)

    @property
    def batch(self) -> int:
        """Positions in the batch."""
        return len(self.trajectory)

    def only(self, positions: NDArray[np.int64]) -> PlacedCall:
        """Return the call with some positions of its batch, as far as its arguments show them."""
        return PlacedCall(
            self.time[positions],
            self.trajectory[positions],
            self.step[positions],
            None if self.masked is None else self.masked[positions],
            _picked(dict(self.arguments), self.batch, positions.tolist()),
        )


class ModelCalls:
    """The calls of a model in their order, as often as they are wanted.

    Attributes
    ----------
    kind : str
        Of the time: "timestep", "masked_fraction" or "none".
    schedule : str
        In words, where log-SNR came from.
    timesteps, log_snr : ndarray of float64, [steps]
        From the noisiest step to the cleanest.
    num_trajectories, num_held_out : int
    known_levels : bool
        Whether somebody said what the noise levels are.
    before_run : callable()
        Called before a model is; what it raises stops the work.
    """

    def __init__(self, model: Any, inputs: Inputs, options: CallOptions) -> None:
        self._inputs = inputs if iter(inputs) is not inputs else list(inputs)
        self._placed: list[PlacedCall] = []
        self.before_run: Callable[[], object] = lambda: None
        mask = options.mask_token_id
        settings = Settings(
            seed=0,
            rows_per_step=0,
            validation_rows_per_step=0,
            hessian=False,
            share_inputs=False,
            guidance_branches=options.guidance_branches or branches_in(self._inputs),
            smaller_is_noisier=options.smaller_is_noisier,
            first_trajectory=0,
            mask_token_id=mask_token_of(model) if mask is None else mask,
        )
        collector = Collector([], settings, Arena(Path(), 0))
        for arguments in self._inputs:
            self._placed.append(_placed(collector, model, arguments, len(self._placed)))
        if collector.axis is None:
            raise ConfigurationError(
                "inputs is empty: give the arguments of the model's calls, one dictionary per call"
            )
        collector.finish()
        self.known_levels = options.scheduler is not None or options.beta_schedule is not None
        metadata, places, _ = collected_metadata(
            collector,
            noise_levels(options.scheduler, options.beta_schedule),
            component="",
            model_class="",
            levels_are_assumed=not self.known_levels,
        )
        axis = metadata["time_axis"]
        self.kind, self.schedule = axis["kind"], axis["schedule"]
        self.timesteps = np.array([step["timestep"] for step in axis["steps"]], np.float64)
        levels = np.array([step["log_snr"] for step in axis["steps"]], np.float64)
        self.log_snr = np.maximum.accumulate(levels)
        for call in self._placed:
            call.step = np.array(places, np.int64)[collector.axis.steps_of(call.time)]
        self.num_trajectories = collector.trajectories.count
        self.num_held_out = int(is_held_out(np.arange(self.num_trajectories)).sum())

    def __len__(self) -> int:
        return len(self._placed)

    def __iter__(self) -> Iterator[PlacedCall]:
        given = iter(self._inputs)
        for number, placed in enumerate(self._placed):
            arguments = next(given, None)
            if arguments is None:
                raise ConfigurationError(
                    f"inputs gave {len(self._placed)} calls at first and {number} now: give a "
                    "list, or an iterable that gives the same each time"
                )
            yield PlacedCall(placed.time, placed.trajectory, placed.step, placed.masked, arguments)

    def run(self, model: Any, call: PlacedCall) -> Any:
        """Call a model, quantized or not, and return its prediction, [batch, …].

        Time comes from the call, so that layers know it whatever the argument is named.
        """
        self.before_run()
        device = next((p.device for p in model.parameters()), None)
        args, arguments = on_device(arguments_of(call.arguments, 0), device)
        known = contextlib.nullcontext() if self.kind == "none" else timestep(call.time.tolist())
        with known:
            output = model(*args, **arguments)
        return prediction_of(output, read_call(model, args, arguments, None).first)


def model_calls(
    model: Any,
    inputs: Inputs | None,
    calibration: str | os.PathLike[str] | None,
    options: CallOptions,
) -> ModelCalls:
    """Take the calls that were given, or those that a collection kept.

    Parameters
    ----------
    model : torch.nn.Module
    inputs : iterable of mapping, optional
        As `collect` takes them.
    calibration : str or os.PathLike, optional
        A calibration file: inputs are those beside it where none are given, and it says how
        trajectories and noise levels are told, where `options` do not.
    options : CallOptions

    Raises
    ------
    ConfigurationError
        If there are no inputs.
    """
    require_model(model)
    if calibration is None:
        if inputs is None:
            raise ConfigurationError(
                "inputs is not given, and neither is calibration: pass the arguments of the "
                "model's calls, or the calibration file beside which collect(keep_inputs=True) "
                "kept them"
            )
        return ModelCalls(model, inputs, options)
    if not Path(calibration).is_file():
        raise ConfigurationError(
            f"calibration = '{calibration}': there is no such file; name one that collect() wrote"
            + ("" if inputs is None else ", or leave it out, since inputs are given")
        )
    if inputs is None:
        try:
            inputs = load_inputs(calibration)
        except ModelNotFoundError as error:
            raise ConfigurationError(
                f"inputs is not given, and there are none beside calibration = '{calibration}': "
                "collect with keep_inputs=True, or pass inputs="
            ) from error
    inputs = inputs if iter(inputs) is not inputs else list(inputs)
    return _as_collected(model, inputs, read_metadata(Path(calibration)), options)


def _as_collected(
    model: Any, inputs: Inputs, metadata: Mapping[str, Any], options: CallOptions
) -> ModelCalls:
    """Tell trajectories and noise levels as the collection did."""
    steps: Sequence[Mapping[str, float]] = metadata["time_axis"]["steps"]
    times = np.array([step["timestep"] for step in steps], np.float64)
    rising = options.smaller_is_noisier
    if rising is None and metadata["time_axis"]["kind"] == "timestep" and len(times) > 1:
        rising = bool(times[0] < times[-1])
    branches = options.guidance_branches
    values = dict(vars(options)) | {"smaller_is_noisier": rising}
    calls = ModelCalls(model, inputs, CallOptions(**values))
    found = int(metadata.get("guidance_branches") or 1)
    # The file says how many branches there are, not whether they lie in one batch.
    if branches is None and calls.num_trajectories == found * metadata["num_trajectories"] != 0:
        calls = ModelCalls(model, inputs, CallOptions(**values | {"guidance_branches": found}))
    if not calls.known_levels and calls.kind == metadata["time_axis"]["kind"]:
        order = np.argsort(times)
        levels = np.array([step["log_snr"] for step in steps], np.float64)
        calls.log_snr = np.maximum.accumulate(
            np.interp(calls.timesteps, times[order], levels[order])
        )
        calls.schedule = metadata["time_axis"]["schedule"]
        calls.known_levels = not calls.schedule.startswith("assumed")
    return calls


def branches_in(inputs: Inputs) -> int | None:
    """Return 2 where the first call has each sample twice, one half after the other; else None."""
    import torch

    for given in inputs:
        args, arguments = arguments_of(given, 0)
        for value in (*arguments.values(), *args):
            if isinstance(value, torch.Tensor) and value.dim() > 1 and value.is_floating_point():
                halves = value.chunk(2) if len(value) % 2 == 0 and len(value) else (value,)
                return 2 if len(halves) == 2 and torch.equal(*halves) else None
        break
    return None


def _placed(
    collector: Collector, model: Any, arguments: Mapping[str, Any], number: int
) -> PlacedCall:
    """Let the collector say where a call belongs; its arguments are not kept."""
    args, kwargs = arguments_of(arguments, number)
    collector.begin_call(read_call(model, args, kwargs, collector.settings.mask_token_id))
    call = collector.call
    assert call is not None
    collector.end_call()
    return PlacedCall(call.time, call.trajectory, call.step, call.masked, {})


def _picked(value: Any, batch: int, positions: list[int]) -> Any:
    """Pick positions from everything, wherever it is, that has one entry for each of the batch."""
    if hasattr(value, "detach"):
        return value[positions] if value.dim() and value.shape[0] == batch else value
    if isinstance(value, dict):
        return {key: _picked(item, batch, positions) for key, item in value.items()}
    if type(value) in (list, tuple):
        if len(value) == batch and all(hasattr(item, "detach") for item in value):
            return type(value)(value[i] for i in positions)
        return type(value)(_picked(item, batch, positions) for item in value)
    return value
