"""One collection from the first call of the model to the finished file."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from arrow_quant_v2.calibration.arena import Arena
from arrow_quant_v2.calibration.checkpoint import Checkpoint
from arrow_quant_v2.calibration.collector import Collector, Settings
from arrow_quant_v2.calibration.file import CalibrationWriter, layer_rows
from arrow_quant_v2.calibration.hooks import watched
from arrow_quant_v2.calibration.inputs import InputRecorder, inputs_path
from arrow_quant_v2.calibration.interrupt import DeferredInterrupt
from arrow_quant_v2.calibration.layer_data import MAX_XTX_COLS
from arrow_quant_v2.calibration.layers import Layer, LayerChoice, choose_layers
from arrow_quant_v2.calibration.metadata import class_of, collected_metadata, shortcomings
from arrow_quant_v2.calibration.model_call import arguments_of, mask_token_of, read_call
from arrow_quant_v2.calibration.noise_levels import NoiseLevels
from arrow_quant_v2.calibration.require import require
from arrow_quant_v2.errors import ConfigurationError

_log = logging.getLogger("arrow_quant_v2")


@dataclass
class RunOptions:
    """The options of `collect`, checked."""

    out: Path
    layers: LayerChoice | None
    rows_per_step: int
    validation_rows_per_step: int
    hessian: bool
    seed: int
    guidance_branches: int | None
    smaller_is_noisier: bool | None
    first_trajectory: int
    mask_token_id: int | None
    max_memory_mb: int
    keep_inputs: bool
    share_inputs: bool
    progress_callback: Callable[[str, float], object] | None
    resume: bool
    component: str
    how: dict[str, Any]  # what else must be the same for an interrupted run to go on


class CollectionRun:
    """A collection under way.

    Attributes
    ----------
    model : torch.nn.Module
    skipped : int
        Calls that an interrupted run had counted before.
    seen : int
        Calls of the model so far, those skipped among them.
    levels_are_assumed : bool
        Whether nobody said what the noise levels are.
    """

    def __init__(self, model: Any, options: RunOptions, levels: NoiseLevels) -> None:
        self.model = model
        self._options = options
        self._levels = levels
        self.levels_are_assumed = False
        out = options.out
        if not out.parent.is_dir():
            raise ConfigurationError(f"out = '{out}': its folder is not there; make it first")
        scratch = out.with_name(f".{out.name}.scratch")
        mask = options.mask_token_id
        if mask is None:
            mask = mask_token_of(model)
        settings = Settings(
            options.seed,
            options.rows_per_step,
            options.validation_rows_per_step,
            options.hessian,
            options.share_inputs,
            options.guidance_branches,
            options.smaller_is_noisier,
            options.first_trajectory,
            mask,
        )
        layers = choose_layers(model, options.layers)
        self._arena = Arena(scratch / "sums", options.max_memory_mb << 20)
        self.collector = Collector(layers, settings, self._arena)
        if options.keep_inputs:
            require("safetensors.torch", "Keeping a model's inputs (keep_inputs=True)")
        self._inputs = InputRecorder() if options.keep_inputs else None
        self._checkpoint = Checkpoint(
            scratch,
            asdict(settings)
            | options.how
            | {
                "model_class": class_of(model),
                "layers": {layer.name: list(layer.module.weight.shape) for layer in layers},
                "weights": _weights_digest(layers),
                "keep_inputs": options.keep_inputs,
                "component": options.component,
            },
        )
        self.skipped = 0
        self.seen = 0
        self._digest = 0
        self._digest_to_skip = 0
        self._skipped_digest = 0
        self._compare_data = False
        self._sets = 0
        self._sets_to_skip = 0
        self._at_set = {"sets": 0, "calls": 0, "digest": 0}
        self._interrupt = DeferredInterrupt()

    def collect(self, drive: Callable[[], object]) -> dict[str, Any]:
        """Let `drive` run the model, write the file, and return the result of `collect`."""
        self._announce_hessian()
        self._resume()
        try:
            with self._interrupt, watched(self.model, self.collector, self._begin, self._end):
                drive()
                self._check_skipped()
        except BaseException:
            # What stopped the run must come through, whether or not the state can be saved.
            if self.collector.clean and self.seen > self.skipped:
                self._save_state()
            raise
        if self.collector.calls == 0:
            raise ConfigurationError(
                "the model was not called once: give inputs, or a sampler that runs the model that "
                "it is given"
            )
        if self._checkpoint.is_due():  # writing may take a while, and be interrupted
            self._save_state()
        return self._write()

    def call_with(self, inputs: Iterable[Mapping[str, Any]]) -> None:
        """Call the model with each of the inputs."""
        self._compare_data = True
        total = len(inputs) if isinstance(inputs, Sized) else 0
        device = next((p.device for p in self.model.parameters() if not p.is_meta), None)
        for number, given in enumerate(inputs):
            self.report(f"call {number + 1}", number / total if total else 0.0)
            args, kwargs = on_device(arguments_of(given, number), device)
            if self.seen < self.skipped:
                self._begin(args, kwargs)
                self._end()
            else:
                self.model(*args, **kwargs)

    def begin_set(self, size: int) -> bool:
        """Begin `size` new trajectories; return False where an interrupted run has done them."""
        if self._sets < self._sets_to_skip:
            self._sets += 1
            return False
        self._sets += 1
        if self.seen >= self.skipped:  # else the calls to come were counted before
            self.collector.trajectories.begin_set(size)
            self._at_set = {"sets": self._sets - 1, "calls": self.seen, "digest": self._digest}
        return True

    def report(self, message: str, fraction: float) -> None:
        """Tell how far it is."""
        if self._options.progress_callback is not None:
            self._options.progress_callback(message, fraction)

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._interrupt.hold()
        call = read_call(self.model, args, kwargs, self.collector.settings.mask_token_id)
        shape = () if call.first is None else tuple(call.first.shape)
        self._digest = zlib.crc32(repr((shape, call.time.tolist())).encode(), self._digest)
        if self._compare_data and call.first is not None:
            data = call.first.detach().contiguous().cpu().flatten().view(_uint8())
            self._digest = zlib.crc32(data.numpy(), self._digest)
        if self.seen < self.skipped:
            return
        if self.seen == self.skipped:
            self._check_skipped()
        self.collector.begin_call(call)
        if self._inputs is not None:
            self._inputs.add(args, kwargs)

    def _end(self) -> None:
        self.seen += 1
        if self.seen == self.skipped:
            self._skipped_digest = self._digest
        if self.seen > self.skipped:
            self.collector.end_call()
            if self._checkpoint.is_due():
                self._save_state()
        self._interrupt.release()

    def _check_skipped(self) -> None:
        """Hold the calls that were counted before against those that came now."""
        if self.seen < self.skipped or self._skipped_digest != self._digest_to_skip:
            raise ConfigurationError(
                f"'{self._options.out}': an interrupted collection had counted {self.skipped} "
                "calls of the model, and other calls came now; collect with resume=False, or with "
                "the same inputs as before"
            )

    def _resume(self) -> None:
        found = self._checkpoint.found() if self._options.resume else ""
        if found == "same":
            progress = self._checkpoint.restore(self.collector, self._inputs)
            self.skipped = self.collector.calls
            self._digest_to_skip = progress["digest"]
            self._at_set = progress["at_set"]
            self._sets_to_skip = self._at_set["sets"]
            self.seen, self._digest = self._at_set["calls"], self._at_set["digest"]
            if self.seen == self.skipped:
                self._skipped_digest = self._digest
            _log.info("going on after %d calls of an interrupted collection", self.skipped)
            return
        if found:
            self.warn(
                f"an interrupted collection of other settings was dropped; different are: {found}"
            )
        self._checkpoint.clear()

    def _save_state(self) -> None:
        progress = {"digest": self._digest, "at_set": self._at_set}
        self._checkpoint.save(self.collector, self._inputs, progress)

    def _announce_hessian(self) -> None:
        if not self._options.hessian:
            return
        collected = [data for data in self.collector.data.values() if data.hessian]
        size = sum(_packed_bytes(data.cols) for data in collected)
        _log.info(
            "XᵀX of %d layers takes up to %.1f MB in the file, and twice that meanwhile",
            len(collected),
            size / 1e6,
        )
        needed = sum(4 * data.cols**2 for data in collected)
        if needed > self._options.max_memory_mb << 20:
            self.warn(
                f"XᵀX takes {needed / 1e6:.0f} MB while collecting, more than max_memory_mb = "
                f"{self._options.max_memory_mb}: it is summed in files, which is slow; raise "
                "max_memory_mb, or collect in several runs with layers="
            )
        for name, data in self.collector.data.items():
            if not data.hessian:
                self.warn(
                    f"{name}: XᵀX of {data.cols} columns does not fit in the file; at most "
                    f"{MAX_XTX_COLS} do"
                )

    def _write(self) -> dict[str, Any]:
        collector, out = self.collector, self._options.out
        collector.finish()
        metadata, places, warnings = collected_metadata(
            collector,
            self._levels,
            component=self._options.component,
            model_class=class_of(self.model),
            levels_are_assumed=self.levels_are_assumed,
        )
        self.report("writing the file", 1.0)
        hessian_bytes = 0
        with CalibrationWriter(out, metadata) as writer:
            for name, data in collector.data.items():
                data.renumber(places)
                alias = collector.sharing.aliases.get(name, "")
                rows = layer_rows(name, data, alias)
                hessian_bytes += 0 if rows.xtx is None else rows.xtx.nbytes
                writer.write(rows)
        kept = self._write_inputs()
        for text in [*warnings, *shortcomings(collector)]:
            self.warn(text)
        mapped = self._arena.mapped_bytes
        self._checkpoint.clear()
        _log.info("wrote '%s': %.1f MB", out, out.stat().st_size / 1e6)
        return {
            "path": str(out),
            "inputs_path": str(kept) if kept else None,
            "component": self._options.component,
            "num_trajectories": collector.trajectories.count,
            "num_calls": collector.calls,
            "num_layers": len(collector.layers),
            "num_aliases": len(collector.sharing.aliases),
            "num_steps": len(metadata["time_axis"]["steps"]),
            "guidance_branches": metadata["guidance_branches"],
            "schedule": metadata["time_axis"]["schedule"],
            "hessian_bytes": hessian_bytes,
            "file_bytes": out.stat().st_size,
            "mapped_bytes": mapped,
            "resumed_calls": self.skipped,
            "warnings": list(collector.warnings),
        }

    def _write_inputs(self) -> Path | None:
        path = inputs_path(self._options.out)
        if self._inputs is not None and not self._inputs.problem:
            self._inputs.save(path)
            return path
        path.unlink(missing_ok=True)  # those of another collection do not belong to this file
        if self._inputs is not None:
            self.warn(f"the inputs of the model were not kept: {self._inputs.problem}")
        return None

    def warn(self, text: str) -> None:
        """Log a warning, and put it into the result."""
        if text not in self.collector.warnings:
            self.collector.warnings.append(text)
            _log.warning("%s", text)


def _weights_digest(layers: Sequence[Layer]) -> int:
    """Return a hash of some weights of each layer, which tells one model from another."""
    digest = 0
    for layer in layers:
        weight = layer.module.weight
        if not weight.is_meta:  # offloaded, and here for the time of a call only
            some = weight.detach().flatten()[:256].float().cpu().numpy()
            digest = zlib.crc32(some, digest)
    return digest


def _packed_bytes(cols: int) -> int:
    return cols * (cols + 1) * 2


def _uint8() -> Any:
    import torch

    return torch.uint8


def on_device(value: Any, device: Any) -> Any:
    """Move tensors, wherever they are in nested lists and dictionaries, to the model's device."""
    if hasattr(value, "detach"):
        return value if device is None or value.device == device else value.to(device)
    if isinstance(value, dict):
        return {key: on_device(item, device) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(on_device(item, device) for item in value)
    return value
