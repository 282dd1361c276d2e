"""What a calibration file says of the collection as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from arrow_quant_v2 import _build_info
from arrow_quant_v2.calibration.call import EVERY, REMAINDER
from arrow_quant_v2.calibration.collector import Collector
from arrow_quant_v2.calibration.file import FORMAT_VERSION
from arrow_quant_v2.calibration.noise_levels import NoiseLevels, of_masked_fraction, of_sigma

# Stored rows that the quantizer wants of a layer.
FEW_ROWS = 64


def collected_metadata(
    collector: Collector,
    levels: NoiseLevels,
    *,
    component: str,
    model_class: str,
    levels_are_assumed: bool,
) -> tuple[dict[str, Any], list[int], list[str]]:
    """Describe a finished collection.

    Parameters
    ----------
    collector : Collector
    levels : NoiseLevels
    component, model_class : str
    levels_are_assumed : bool
        Whether nobody said what the noise levels are.

    Returns
    -------
    metadata : dict
        As CALIBRATION.md has it.
    places : list of int
        Of each step of the collector, its index into the time axis.
    warnings : list of str
    """
    axis = collector.axis
    assert axis is not None  # there was a call
    warnings = []
    reverse = collector.smaller_is_noisier
    schedule, log_snr = levels.schedule, levels.log_snr_of(axis.all_times(), reverse)
    if axis.kind == "masked_fraction":
        schedule, log_snr = "logit of the unmasked fraction", of_masked_fraction
    elif axis.kind == "none":
        schedule, log_snr = "no time", np.zeros_like
    elif levels_are_assumed and collector.time_name in ("sigma", "sigmas"):
        schedule, log_snr = "sigma, the noise added to the sample", of_sigma
    elif levels_are_assumed:
        warnings.append(
            "no scheduler was given, so log-SNR is that of "
            f"{schedule.removeprefix('assumed: ')}; pass scheduler= or beta_schedule="
        )
    described, places = axis.described(log_snr, schedule, reverse)
    trajectories, settings = collector.trajectories, collector.settings
    metadata = {
        "format_version": FORMAT_VERSION,
        "tool_version": _build_info.VERSION,
        "source": "collected",
        "component": component,
        "model_class": model_class,
        "time_axis": described,
        "num_trajectories": trajectories.count,
        "trajectory_ranges": [[trajectories.first, trajectories.next]],
        "validation": {"every": EVERY, "remainder": REMAINDER},
        "guidance_branches": trajectories.guidance_branches(),
        "num_calls": collector.calls,
        "seed": settings.seed,
        "rows_per_step": settings.rows_per_step,
        "validation_rows_per_step": settings.validation_rows_per_step,
        "hessian": settings.hessian,
    }
    return metadata, places, warnings


def class_of(model: Any) -> str:
    """Return the name of a model's class, as its config.json has it: that of its architecture."""
    config = getattr(model, "config", None)
    known = config if isinstance(config, Mapping) else getattr(config, "__dict__", {})
    architectures = known.get("architectures") or [type(model).__name__]
    return str(architectures[0])


def shortcomings(collector: Collector) -> list[str]:
    """Return what a finished collection lacks, as warnings."""
    found = []
    trajectories = collector.trajectories
    numbers = range(trajectories.first, trajectories.next)
    if not any(number % EVERY == REMAINDER for number in numbers):
        found.append(
            f"{trajectories.count} trajectories, and none of them held out: what is calibrated "
            "cannot be validated; collect at least 4"
        )
    if all(number % EVERY == REMAINDER for number in numbers):
        found.append(
            f"{trajectories.count} trajectories, and all of them held out: nothing is summed; "
            "collect at least 4"
        )
    settings, steps = collector.settings, len(collector.axis.bins) if collector.axis else 0
    per_step = settings.rows_per_step + settings.validation_rows_per_step
    if steps * per_step < FEW_ROWS:
        found.append(
            f"{steps} steps, at most {per_step} rows stored of each: fewer than {FEW_ROWS} rows "
            f"are too few to calibrate a layer; collect with rows_per_step={FEW_ROWS}"
        )
    unused = [
        name
        for name, data in collector.data.items()
        if not data.steps and name not in collector.sharing.aliases
    ]
    if unused:
        found.append(f"layers that no call used: {', '.join(unused)}")
    return found
