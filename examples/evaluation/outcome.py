"""Outcome: what one row came to; and the run that makes it."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch

from arrow_quant_v2 import ArrowQuantV2, DiffusionQuantConfig
from arrow_quant_v2.calibration import load_inputs
from arrow_quant_v2.errors import ConfigurationError
from arrow_quant_v2.torch import cache_weights, load_model
from arrow_quant_v2.torch.quantized_layer import QuantizedLayer
from examples.evaluation.ladder import Row, Setting
from examples.evaluation.subject import Measured, Subject, calibration_file

TRIED = "no layer"  # of a warning: what found nothing to do is a result like others
CALLS = 2  # a model that judges sees every second one of the calls that calibrated, to save time


@dataclass(frozen=True, eq=False)
class Outcome:
    """One row of a table.

    Attributes
    ----------
    subject, setting, row : str
    seed, trajectories : int
        Of the calibration data; -1 and 0 where there are none.
    measured : Measured
    bits_per_weight : float
        Stored, all layers that are quantized together: codes, scales, corrections.
    seconds : float
        Of quantizing.
    result : mapping
        Of the quantizer.
    """

    subject: str
    setting: str
    row: str
    seed: int
    trajectories: int
    measured: Measured
    bits_per_weight: float
    seconds: float
    result: Mapping[str, Any]


def evaluate(
    subject: Subject,
    setting: Setting,
    row: Row,
    work: Path,
    seed: int = 0,
    trajectories: int = 32,
    samples: bool = True,
) -> Outcome:
    """Quantize a subject as a row says, load it, and measure it.

    Parameters
    ----------
    subject, setting, row
        What, and how.
    work : Path
        For calibration data, which stay, and the quantized model, which goes.
    seed, trajectories : int
        Of the calibration data.
    samples : bool
        Whether the model is let sample.

    Raises
    ------
    TypeError
        If the row has an option that `DiffusionQuantConfig` has not.
    ConfigurationError
        If an option of the row had no effect.
    """
    options = dict(setting.options) | dict(row.options)
    data = calibration_file(subject, work, seed, trajectories) if row.calibrated else None
    if data:
        options |= {"calibration_path": str(data), "calibration_samples": trajectories}
    target = work / subject.name / "quantized"
    with_model: dict[str, Any] = {}
    if row.model and data:
        with_model = {"model": subject.original(), "inputs": load_inputs(data)[::CALLS]}
    result, seconds = quantize(subject, target, options, **with_model)
    complaints = [w for w in result["warnings"] if "had no effect" in w and TRIED not in w]
    if complaints:
        raise ConfigurationError(
            f"{subject.name}, {setting.name}, row '{row.name}': {'; '.join(complaints)}: take the "
            "option out of the row in examples/evaluation/ladder.py"
        )
    measured = measure(subject, load_model(subject.empty(), target), samples)
    shutil.rmtree(target)
    return Outcome(
        subject.name,
        setting.name,
        row.name,
        seed if row.calibrated else -1,
        trajectories if row.calibrated else 0,
        measured,
        result["bits_per_weight"],
        seconds,
        result,
    )


def measure(subject: Subject, model: Any, samples: bool) -> Measured:
    """Measure a model that was just loaded, or take the numbers of one that equals it.

    Features that found nothing to do leave the same codes and parameters behind.
    """
    known = _measured.setdefault(subject, {})
    key = fingerprint(model)
    if key not in known or (samples and subject.draws and known[key].psnr_db is None):
        cache_weights(model, True)
        known[key] = subject.measure(model, samples)
    return known[key] if samples else replace(known[key], psnr_db=None)


_measured: WeakKeyDictionary[Subject, dict[str, Measured]] = WeakKeyDictionary()


def fingerprint(model: Any) -> str:
    """Return a hash of all that the predictions of a quantized model depend on."""
    found = hashlib.sha256()
    for name, values in model.state_dict().items():
        found.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        found.update(values.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    for name, module in model.named_modules():
        if isinstance(module, QuantizedLayer):
            sizes = {k: v for k, v in vars(module).items() if isinstance(v, (int, str, tuple))}
            times = module._time_groups if module.needs_timestep else None
            found.update(f"{name} {sorted(sizes.items())} {times}".encode())
    return found.hexdigest()


def quantize(
    subject: Subject, target: Path, options: Mapping[str, Any], **with_model: Any
) -> tuple[dict[str, Any], float]:
    """Quantize a subject into a new folder; return the result and the seconds it took."""
    shutil.rmtree(target, ignore_errors=True)
    started = time.perf_counter()
    result = ArrowQuantV2().quantize_diffusion_model(
        subject.source, target, DiffusionQuantConfig(**options), **with_model
    )
    return result, time.perf_counter() - started
