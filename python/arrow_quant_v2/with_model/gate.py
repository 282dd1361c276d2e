"""The gate: keeps of a quantization's features those that the model's predictions gain by.

A feature may help every layer by itself and hurt the whole, so each is left out once, and stays out
where the error on held-out trajectories is 1 % smaller without it. Compensation and calibration
data as a whole helped wherever they were measured, so that they stay unless it is surely smaller.
"""

# torch is nothing but Any where its types are left out.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arrow_quant_v2._core import DiffusionQuantConfig, ThermodynamicConfig
from arrow_quant_v2.config_copy import config_with
from arrow_quant_v2.with_model.judge import Judge
from arrow_quant_v2.with_model.judgement import Judgement, step_of_gate
from arrow_quant_v2.with_model.quantized_copy import QuantizedCopy

# Of each feature: the key of results that tells whether it took part, its name in words, and the
# options that leave it out.
_FEATURES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("low_rank_applied", "low ranks", {"quality": "standard"}),
    ("spatial_applied", "transforms of inputs", {"enable_spatial": False}),
    ("thermodynamic_applied", "constraints over time", {"thermodynamic": ThermodynamicConfig()}),
    ("time_aware_applied", "groups of timesteps", {"enable_time_aware": False}),
)

Quantize = Callable[[Path, DiffusionQuantConfig, bool], dict[str, Any]]


@dataclass
class Variant:
    """A quantized model in a folder of its own, with the options that made it.

    Attributes
    ----------
    config : DiffusionQuantConfig
    with_data : bool
        Whether calibration data had a part in it.
    path : Path
    result : dict
        Of the quantization.
    copy : QuantizedCopy
    judgement : Judgement
        On held-out trajectories.
    """

    config: DiffusionQuantConfig
    with_data: bool
    path: Path
    result: dict[str, Any]
    copy: QuantizedCopy
    judgement: Judgement


class Gate:
    """Quantizes in several ways, and takes the one whose predictions are best.

    Attributes
    ----------
    steps : list of dict
        What was tried: ``step``, ``error_before``, ``error_after``, ``standard_error`` of
        their relative difference, ``accepted``.
    """

    def __init__(self, model: Any, judge: Judge, quantize: Quantize, work: Path) -> None:
        self._model = model
        self._judge = judge
        self._quantize = quantize
        self._work = work
        self._made = 0
        self.steps: list[dict[str, Any]] = []

    def best(self, config: DiffusionQuantConfig, can_judge: bool) -> Variant:
        """Quantize as asked, and then without what does not help.

        Parameters
        ----------
        config : DiffusionQuantConfig
        can_judge : bool
            Whether there are held-out trajectories; otherwise all stays as asked.
        """
        best = self._variant(config, with_data=True)
        if not can_judge:
            return best
        if any("gptq" in layer["method"] for layer in best.result["layers"]):
            best = self._without_compensation(best)
        for applied, words, options in _FEATURES:
            if best.result[applied]:
                plain = self._variant(config_with(best.config, **options), with_data=True)
                best = self._better(best, plain, f"leave out {words}", trusted=False)
        if any(layer["trials"] for layer in best.result["layers"]):
            plain = self._variant(config, with_data=False)
            # Static ranges of inputs need data: without, nothing would be quantized but weights.
            if plain.copy.quantized_inputs == best.copy.quantized_inputs:
                best = self._better(best, plain, "leave out the calibration data")
        return best

    def _without_compensation(self, first: Variant) -> Variant:
        """Leave compensation out of all layers, or else of blocks, where that is better."""
        plain = self._variant(config_with(first.config, compensation="off"), with_data=True)
        best = self._better(first, plain, "leave out compensation")
        if best is plain:
            return best
        left_out = self._blocks_to_leave_out(first, plain)
        if not left_out:
            return first
        patterns = [f"re:^{re.sub('[.]', '[.]', block)}[.]" for block in left_out]
        names = [*first.config.modules_to_not_compensate, *patterns]
        mixed = self._variant(
            config_with(first.config, modules_to_not_compensate=names), with_data=True
        )
        return self._better(first, mixed, f"leave compensation out of {', '.join(left_out)}")

    def _blocks_to_leave_out(self, first: Variant, plain: Variant) -> list[str]:
        """Go through the blocks in forward order, and find those that are better without it."""
        blocks = blocks_of(first.result["layers"], first.copy)
        left_out: list[str] = []
        best = first.judgement
        for block, layers in blocks.items():
            first.copy.exchange(plain.copy, layers)
            after = self._judge.judge(first.copy.model)
            sure = after.is_surely_better_than(best)
            if self._note(f"leave compensation out of {block}", best, after, sure):
                best = after
                left_out.append(block)
            else:
                first.copy.exchange(plain.copy, layers)
        for block in left_out:
            first.copy.exchange(plain.copy, blocks[block])
        return left_out

    def _variant(self, config: DiffusionQuantConfig, with_data: bool) -> Variant:
        self._made += 1
        path = self._work / f"model-{self._made}"
        result = self._quantize(path, config, with_data)
        quantized = QuantizedCopy(self._model, path)
        judgement = self._judge.judge(quantized.model)
        return Variant(config, with_data, path, result, quantized, judgement)

    def _better(self, best: Variant, other: Variant, step: str, trusted: bool = True) -> Variant:
        """Return the better one; the first unless that is surely worse, where it is `trusted`."""
        before, after = best.judgement, other.judgement
        accepted = after.is_surely_better_than(before) if trusted else after.is_better_than(before)
        return other if self._note(step, before, after, accepted) else best

    def _note(self, step: str, before: Judgement, after: Judgement, accepted: bool) -> bool:
        self.steps.append(step_of_gate(step, before, after, accepted))
        return accepted


def blocks_of(layers: list[Mapping[str, Any]], quantized: QuantizedCopy) -> dict[str, list[str]]:
    """Return the compensated layers of each block, in the model's order.

    A block is a name up to its first number, "model.layers.3", or its first two parts.

    Parameters
    ----------
    layers : list of mapping
        As results have them.
    quantized : QuantizedCopy

    Returns
    -------
    dict of str to list of str
        Names of modules.
    """
    compensated = {
        layer["name"]
        for layer in layers
        if "gptq" in layer["method"] and layer["component"] == quantized.component
    }
    blocks: dict[str, list[str]] = {}
    for name, layer in quantized.layers.items():
        if layer._name in compensated:
            blocks.setdefault(block_of(layer._name), []).append(name)
    return blocks


def block_of(name: str) -> str:
    """Return the block that a weight is in; see `blocks_of`."""
    parts = name.removesuffix(".weight").split(".")
    number = next((i for i, part in enumerate(parts) if part.isdigit()), 1)
    return ".".join(parts[: number + 1])
