"""Collects: sees each call of the model and each input of a layer, and sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arrow_quant_v2.calibration.arena import Arena
from arrow_quant_v2.calibration.call import Call, Candidates, StepRows
from arrow_quant_v2.calibration.layer_data import LayerData
from arrow_quant_v2.calibration.layers import Layer, LayerInput, LinearInput
from arrow_quant_v2.calibration.model_call import ModelCall
from arrow_quant_v2.calibration.sample import Sample, to_float16
from arrow_quant_v2.calibration.sharing import Sharing
from arrow_quant_v2.calibration.time_axis import TimeAxis
from arrow_quant_v2.calibration.trajectories import Trajectories
from arrow_quant_v2.errors import ConfigurationError, QuantizationError

MAX_CONV_XTX_ROWS = 4096  # of a call


@dataclass(frozen=True)
class Settings:
    """What decides which rows are stored and what is summed."""

    seed: int
    rows_per_step: int
    validation_rows_per_step: int
    hessian: bool
    share_inputs: bool
    guidance_branches: int | None
    smaller_is_noisier: bool | None
    first_trajectory: int
    mask_token_id: int | None


class Collector:
    """Statistics of all layers of a model.

    Attributes
    ----------
    data : dict of str to LayerData
        By the name of the layer's weight.
    axis : TimeAxis or None
        None before the first call.
    trajectories : Trajectories
    sharing : Sharing
    calls : int
        Calls that are counted.
    clean : bool
        Whether no call is half counted.
    warnings : list of str
    """

    def __init__(self, layers: Sequence[Layer], settings: Settings, arena: Arena) -> None:
        self.settings = settings
        self.layers = layers
        self.data = {
            layer.name: LayerData(
                layer.channels,
                layer.cols,
                arena,
                rows_per_step=settings.rows_per_step,
                validation_rows_per_step=settings.validation_rows_per_step,
                hessian=settings.hessian,
            )
            for layer in layers
        }
        first = settings.first_trajectory
        self.trajectories = Trajectories(first, settings.guidance_branches, next=first)
        self.axis: TimeAxis | None = None
        self.time_name = ""
        self.sharing = Sharing(settings.share_inputs)
        self.calls = 0
        self.clean = True
        self.warnings: list[str] = []
        self._call: Call | None = None
        self.last_call: ModelCall | None = None
        self._occurrences: dict[str, int] = {}

    def begin_call(self, model_call: ModelCall) -> None:
        """Get ready for the inputs of a call.

        Raises
        ------
        ConfigurationError
            If the call has another kind of time than those before.
        QuantizationError
            If the call before did not come to its end.
        """
        if not self.clean:
            raise QuantizationError(
                f"call {self.calls} of the model failed, and its layers are half counted; collect "
                "again, with calls that work"
            )
        axis = self._axis_for(model_call)
        begins, same_step = self._relation(model_call)
        self.clean = False
        self._watch_direction(model_call)
        trajectory, visit = self.trajectories.place(model_call.batch, begins, same_step)
        places = axis.add(model_call.time)
        if places is not None and places != list(range(len(places))):
            for data in self.data.values():
                data.renumber(places)
        masked = None
        if model_call.tokens is not None:
            masked = model_call.tokens == self.settings.mask_token_id
        self._occurrences = {}
        self.last_call = model_call
        self._call = Call(
            self.calls,
            self.settings.seed,
            self.settings.rows_per_step,
            self.settings.validation_rows_per_step,
            trajectory,
            visit,
            axis.steps_of(model_call.time),
            model_call.time,
            masked,
        )

    @property
    def call(self) -> Call | None:
        """The call that is under way."""
        return self._call

    @property
    def smaller_is_noisier(self) -> bool:
        """Whether the timestep rises from noise to result."""
        said = self.settings.smaller_is_noisier
        return self.trajectories.rises > 0 if said is None else said

    def end_call(self) -> None:
        """Count the call."""
        self._forget(self.sharing.end_call(self.calls))
        self._call = None
        self.calls += 1
        self.clean = True

    def finish(self) -> None:
        """Settle what more calls could have changed."""
        self._forget(self.sharing.settle())
        if self.axis is not None:
            places = self.axis.finish()
            for data in self.data.values():
                data.renumber(places)

    def see(self, layer: Layer, x: Any) -> None:
        """Count an input of a layer.

        Raises
        ------
        QuantizationError
            If it is not finite.
        """
        call = self._call
        if call is None or x.numel() == 0:
            return
        occurrence = self._occurrences.get(layer.name, 0)
        self._occurrences[layer.name] = occurrence + 1
        if self.sharing.see(layer, x):
            return
        x = x.detach()
        if x.device.type == "mps":  # which has no float64
            x = x.cpu()
        self._check_finite(layer, x)
        rows = layer.rows_of(x)
        self._warn_of_shape(layer, rows, call)
        is_linear = isinstance(rows, LinearInput)
        limit = 0 if is_linear else MAX_CONV_XTX_ROWS
        chosen = call.select(rows.batch, rows.rows, occurrence, limit)
        data = self.data[layer.name]
        for part in chosen.steps:
            self._count(data, rows, part, call)
        if data.hessian and len(chosen.calibrating):
            if isinstance(rows, LinearInput):
                data.add_xtx(rows.all_rows(chosen.calibrating))
            else:
                entry, row = chosen.for_xtx or _every(chosen.calibrating, rows.rows)
                data.add_xtx(rows.gather(entry, row))

    def _axis_for(self, model_call: ModelCall) -> TimeAxis:
        if self.axis is None:
            self.axis = TimeAxis(model_call.kind)
            self.time_name = model_call.time_name
        if self.axis.kind != model_call.kind:
            raise ConfigurationError(
                f"call {self.calls} of the model has time of kind {model_call.kind!r}, and those "
                f"before {self.axis.kind!r}; pass a timestep in every call, or in none"
            )
        return self.axis

    def _watch_direction(self, now: ModelCall) -> None:
        """Compare timesteps within a set whose beginning and end are known."""
        known, last = self.trajectories, self.last_call
        if known.fixed_size and known.size and last is not None and now.kind == "timestep":
            known.rises += int(np.sign(now.time.mean() - last.time.mean()))

    def _relation(self, now: ModelCall) -> tuple[bool, bool]:
        """Return whether a call begins new trajectories, and whether it repeats a step."""
        last = self.last_call
        if last is None or now.batch != last.batch or now.kind == "none":
            return now.kind == "none", False
        if now.tokens is not None and last.tokens is not None:
            if now.tokens.shape != last.tokens.shape:
                return True, False
            mask = self.settings.mask_token_id
            goes_on = (last.tokens == mask) | (now.tokens == last.tokens)
            return not goes_on.all(), bool((now.time == last.time).all())
        rises = now.time > last.time
        if self.settings.smaller_is_noisier:
            rises = now.time < last.time
        return bool(rises.any()), bool((now.time == last.time).all())

    def _count(self, data: LayerData, rows: LayerInput, part: StepRows, call: Call) -> None:
        statistics = data.step(part.step)
        if len(part.counted):
            x = rows.channels_first()
            if len(part.counted) != rows.batch:
                x = x[part.counted.tolist()]
            statistics.add(x)
        masks = call.masks_of(rows.batch, rows.rows)
        for sample, candidates in (
            (statistics.calibrating, part.calibrating),
            (statistics.held_out, part.held_out),
        ):
            _store(sample, rows, candidates, masks)

    def _check_finite(self, layer: Layer, x: Any) -> None:
        import torch

        if not bool(torch.isfinite(x.sum(dtype=torch.float64))):
            assert self._call is not None
            time = np.unique(self._call.time).tolist()
            error = QuantizationError(
                f"the input of layer {layer.name!r} has NaN or infinite values in call "
                f"{self.calls} of the model, at time {time}; run the model in bfloat16 or float32, "
                "or leave the layer out with layers="
            )
            error.code = "NonFinite"
            raise error

    def _warn_of_shape(self, layer: Layer, rows: LayerInput, call: Call) -> None:
        if rows.batch == 1 or call.is_batched(rows.batch):
            return
        text = (
            f"the input of layer {layer.name!r} has {rows.batch} entries on its first axis, which "
            "do not divide among the samples of a batch: all of them count as calibrating rows"
        )
        if text not in self.warnings:
            self.warnings.append(text)

    def _forget(self, names: Sequence[str]) -> None:
        for name in names:
            self.data[name].release()


def _store(sample: Sample, rows: LayerInput, candidates: Candidates, masks: Any) -> None:
    wanted = sample.wanted(candidates.keys)
    if not wanted.any():
        return
    entry, row = candidates.entry[wanted], candidates.row[wanted]
    sample.add(
        candidates.keys[wanted],
        candidates.trajectories[wanted],
        to_float16(rows.gather(entry, row).cpu().numpy()),
        None if masks is None else masks[entry, row],
    )


def _every(entries: Any, rows: int) -> tuple[Any, Any]:
    return np.repeat(entries, rows), np.tile(np.arange(rows), len(entries))
