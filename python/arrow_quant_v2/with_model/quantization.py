"""Quantizes with the model at hand: calibrates if need be, keeps what helps, corrects biases."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from arrow_quant_v2 import _core
from arrow_quant_v2._core import CancelToken, DiffusionQuantConfig
from arrow_quant_v2.calibration.collection import collect
from arrow_quant_v2.calibration.require import require_model
from arrow_quant_v2.calibration.scheduler_config import scheduler_file
from arrow_quant_v2.config_copy import config_with
from arrow_quant_v2.errors import ConfigurationError, QuantizationError
from arrow_quant_v2.runs import ProgressCallback
from arrow_quant_v2.with_model.calls import CallOptions, Inputs, branches_in, model_calls
from arrow_quant_v2.with_model.gate import Gate, Variant
from arrow_quant_v2.with_model.judge import Judge
from arrow_quant_v2.with_model.refinement import Refinement
from arrow_quant_v2.with_model.time_grouping import MAX_GROUPS

DATA = "calibration.parquet"

Run = Callable[[Path, Path, DiffusionQuantConfig, ProgressCallback, CancelToken], dict[str, Any]]


def quantize_with_model(
    run: Run,
    model: Any,
    model_path: Path,
    output_path: Path,
    config: DiffusionQuantConfig,
    inputs: Inputs | None,
    progress: ProgressCallback,
    cancel: CancelToken,
) -> dict[str, Any]:
    """Quantize a model whose network can be run.

    Parameters
    ----------
    run : callable(model_path, output_path, config, progress, cancel)
        Quantizes without the model, and returns its result.
    model : torch.nn.Module
        In full precision.
    model_path, output_path : Path
    config : DiffusionQuantConfig
    inputs : iterable of mapping, or None
        As `collect` takes them; None: those beside the calibration data.
    progress : callable(str, float)
    cancel : CancelToken
        Looked at before each call of a model, and within quantizations.

    Returns
    -------
    dict
        As of `ArrowQuantV2.quantize_diffusion_model`.
    """

    def report(message: str, fraction: float) -> None:
        cancel.check()
        progress(message, fraction)

    require_model(model)
    _check_output(output_path, config)
    if inputs is not None and iter(inputs) is inputs:
        inputs = list(inputs)
    with _work_folder(output_path) as work:
        found = _calibration_path(model_path, config)
        data = found or _collect(model, model_path, config, inputs, work, report)
        calls = model_calls(model, inputs, data, CallOptions())
        calls.before_run = cancel.check
        judge = Judge(model, calls)
        steps = _Steps(report, 0.0 if found else 0.2)

        def quantize(path: Path, options: DiffusionQuantConfig, with_data: bool) -> dict[str, Any]:
            source = model_path if with_data else _without_data(model_path, work)
            options = config_with(options, calibration_path=str(data) if with_data else None)
            return run(source, path, options, steps.next(), cancel)

        gate = Gate(model, judge, quantize, work)
        held_out = judge.calls.num_held_out
        best = gate.best(config, 0 < held_out < judge.calls.num_trajectories)
        refined = Refinement(model, best.copy, judge, steps.last(), cancel)
        groups = config.num_time_groups if config.enable_time_aware else 1
        refinement = refined.run(best.path, min(groups, MAX_GROUPS))
        result = _result(best, refinement, gate.steps, output_path)
        if not found and result["calibration"] != "none":
            result["calibration"] = "collected from inputs"
        cancel.check()
        _publish(best.path, output_path)
    progress("done", 1.0)
    return result


class _Steps:
    """Makes one fraction that never falls of those of several quantizations."""

    def __init__(self, progress: ProgressCallback, start: float) -> None:
        self._progress = progress
        self._at = start

    def next(self) -> ProgressCallback:
        """Return the progress of one more quantization, a third of what is left."""
        return self._until(self._at + (1 - self._at) / 3)

    def last(self) -> ProgressCallback:
        """Return the progress of the last step."""
        return self._until(0.99)

    def _until(self, end: float) -> ProgressCallback:
        start, self._at = self._at, end
        return lambda message, fraction: self._progress(message, start + (end - start) * fraction)


@contextmanager
def _work_folder(output: Path) -> Iterator[Path]:
    """Make a folder beside the output, for as long as the work takes."""
    output.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_output(output: Path, config: DiffusionQuantConfig) -> None:
    """Refuse an output that is there, unless it may be replaced."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if config.overwrite and (output / "manifest.json").is_file():
        return
    error = QuantizationError(
        f"{output} is there already, and a quantization with a model always starts anew: name "
        "another output, or replace a quantized model with overwrite=True"
    )
    error.code = "OutputExists"
    raise error


def _publish(made: Path, output: Path) -> None:
    """Put the finished model in its place, by rename."""
    old = made.with_name("replaced")
    if output.exists():
        output.rename(old)
    try:
        made.rename(output)
    except OSError:
        if old.exists():
            old.rename(output)
        raise


def _calibration_path(model_path: Path, config: DiffusionQuantConfig) -> Path | None:
    if config.calibration_path is not None:
        return Path(config.calibration_path)
    found = model_path / DATA
    return found if found.is_file() else None


def _without_data(model_path: Path, work: Path) -> Path:
    """Return the model's folder, or one that shows all of it but the calibration data."""
    if not (model_path / DATA).is_file():
        return model_path
    folder = work / "source"
    if not folder.is_dir():
        folder.mkdir()
        for entry in model_path.iterdir():
            if entry.name != DATA:
                (folder / entry.name).symlink_to(entry.resolve(), entry.is_dir())
    return folder


def _collect(
    model: Any,
    model_path: Path,
    config: DiffusionQuantConfig,
    inputs: Inputs | None,
    work: Path,
    progress: ProgressCallback,
) -> Path:
    """Collect calibration data from the inputs, for this run only."""
    if inputs is None:
        raise ConfigurationError(
            "model is given, but there are neither calibration data nor inputs: pass inputs=, the "
            "arguments of the model's calls, or calibration_path= of a file that "
            "collect(keep_inputs=True) wrote"
        )
    path = work / DATA
    collect(
        model,
        inputs,
        out=path,
        scheduler=model_path if scheduler_file(model_path) else None,
        component=_component(model, model_path, config),
        guidance_branches=branches_in(inputs),
        keep_inputs=False,
        resume=False,
        progress_callback=lambda message, fraction: progress(message, 0.2 * fraction),
    )
    return path


def _component(model: Any, model_path: Path, config: DiffusionQuantConfig) -> str:
    """Return the part of the pipeline that the model is; "" where there is one part."""
    plan = json.loads(_core.inspect_model(str(model_path), config))
    names = [str(component["name"]) for component in plan["components"]]
    if len(names) == 1:
        return names[0]
    index = model_path / "model_index.json"
    classes = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}
    own = type(model).__name__
    fitting = [name for name in names if own in (classes.get(name) or [])]
    if len(fitting) == 1:
        return fitting[0]
    raise ConfigurationError(
        f"model is a {own}, and '{model_path}' has the components {', '.join(names)}, of which "
        f"{len(fitting) or 'none'} is of this class: name one with components=, or collect with "
        "component= and pass calibration_path="
    )


def _result(
    best: Variant, refinement: dict[str, Any], steps: list[dict[str, Any]], output: Path
) -> dict[str, Any]:
    """Complete the result of the quantization that was taken."""
    result = dict(best.result)
    result["quantized_path"] = str(output)
    if refinement["accepted"]:
        revised = json.loads(_core.inspect_model(str(best.path), best.config))
        for key in ("bits_per_weight", "bits_per_weight_model", "layers"):
            result[key] = revised[key]
        totals = json.loads((best.path / "manifest.json").read_text(encoding="utf-8"))["totals"]
        result["compression_ratio"] = totals["source_bytes"] / totals["part_bytes"]
        result["model_size_mb"] = totals["part_bytes"] / 1e6
    if refinement["groups"] > 1:
        result["time_aware_applied"], result["time_aware_reason"] = True, ""
    elif not result["time_aware_applied"]:
        result["time_aware_reason"] = (
            "one correction for all timesteps was best"
            if refinement["accepted"]
            else refinement["reason"]
        )
    refined = [
        {"step": f"correct biases, {tried['name']}"}
        | {k: v for k, v in tried.items() if k not in ("name", "groups", "bits_per_weight")}
        for tried in refinement["candidates"]
    ]
    result["model_gate"] = steps + refined
    result["refinement"] = {k: v for k, v in refinement.items() if k not in ("path", "candidates")}
    return result
