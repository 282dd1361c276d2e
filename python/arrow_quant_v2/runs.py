"""Runs: quantizations and validations that can be cancelled, for plain calls and coroutines."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from arrow_quant_v2 import _core
from arrow_quant_v2._core import CancelToken, DiffusionQuantConfig
from arrow_quant_v2.config_copy import config_with
from arrow_quant_v2.errors import ConfigurationError

StrPath = str | os.PathLike[str]
ProgressCallback = Callable[[str, float], object]


class Runs:
    """Quantizes and validates, with the model itself at hand or by its files alone.

    Parameters and results are those of `ArrowQuantV2`; any thread may call.

    Attributes
    ----------
    markov_metrics : dict or None
        What `ArrowQuantV2.get_markov_metrics` returns, of the latest quantization.
    """

    def __init__(self, mode: str | None) -> None:
        self._mode = None if mode is None else DiffusionQuantConfig(mode=mode).mode
        self.markov_metrics: dict[str, Any] | None = None

    @property
    def mode(self) -> str:
        """What kind of model is quantized, where a config says nothing else."""
        return DiffusionQuantConfig().mode if self._mode is None else self._mode

    def chosen(self, config: DiffusionQuantConfig | None) -> DiffusionQuantConfig:
        """Return what a run follows: a given config, and the mode that was asked for.

        Raises
        ------
        TypeError
            If the config is something else.
        """
        chosen = DiffusionQuantConfig() if config is None else config
        if not isinstance(chosen, DiffusionQuantConfig):
            raise TypeError(f"config is a {type(config).__name__}, not a DiffusionQuantConfig")
        if self._mode is not None and self._mode != chosen.mode:
            return config_with(chosen, mode=self._mode)
        return chosen

    def quantize(
        self,
        model_path: StrPath,
        output_path: StrPath,
        config: DiffusionQuantConfig | None,
        progress_callback: ProgressCallback | None,
        cancel: CancelToken,
        *,
        model: Any,
        inputs: Iterable[Mapping[str, Any]] | None,
    ) -> dict[str, Any]:
        """Quantize with a model, or without one where it is None."""
        if model is None:
            if inputs is not None:
                raise ConfigurationError(
                    "inputs is given without model: pass the model that takes them, too"
                )
            return self.quantize_files(model_path, output_path, config, progress_callback, cancel)
        # Not above: these modules use this one, and need torch.
        from arrow_quant_v2.calibration.require import require

        require("torch", "Quantizing with a model")
        from arrow_quant_v2.with_model.quantization import quantize_with_model

        result = quantize_with_model(
            self.quantize_files,
            model,
            Path(model_path),
            Path(output_path),
            self.chosen(config),
            inputs,
            progress_callback or (lambda message, fraction: None),
            cancel,
        )
        self.markov_metrics = result["markov_validation"]
        return result

    def quantize_files(
        self,
        model_path: StrPath,
        output_path: StrPath,
        config: DiffusionQuantConfig | None,
        progress_callback: ProgressCallback | None,
        cancel: CancelToken,
        shared: _core.SharedResources | None = None,
    ) -> dict[str, Any]:
        """Quantize without a model; `shared` are threads and memory of runs side by side."""
        result = _object(
            _core.quantize_model(
                os.fspath(model_path),
                os.fspath(output_path),
                self.chosen(config),
                progress_callback,
                cancel,
                shared,
            )
        )
        self.markov_metrics = result["markov_validation"]
        return result

    def validate(
        self,
        original_path: StrPath,
        quantized_path: StrPath,
        progress_callback: ProgressCallback | None,
        cancel: CancelToken,
        *,
        model: Any,
        **given: Any,
    ) -> dict[str, Any]:
        """Validate with a model and what is `given` for it, or without one where it is None."""
        if model is None:
            for name, value in given.items():
                if value is not None:
                    raise ConfigurationError(
                        f"{name} is given without model: pass the model that it is for, too"
                    )
            return _validate_files(original_path, quantized_path, progress_callback, cancel)
        # Not above: these modules use this one, and need torch.
        from arrow_quant_v2.calibration.require import require

        require("torch", "Validating with a model")
        from arrow_quant_v2.with_model.validation import validate_with_model

        report = progress_callback or (lambda message, fraction: None)
        result = _validate_files(
            original_path, quantized_path, lambda message, done: report(message, 0.2 * done), cancel
        )
        return result | validate_with_model(
            model,
            Path(original_path),
            Path(quantized_path),
            **given,
            per_layer_accuracy=result["per_layer_accuracy"],
            progress=lambda message, done: report(message, 0.2 + 0.8 * done),
            cancel=cancel,
        )


def _validate_files(
    original_path: StrPath,
    quantized_path: StrPath,
    progress_callback: ProgressCallback | None,
    cancel: CancelToken,
) -> dict[str, Any]:
    return _object(
        _core.validate_quality(
            os.fspath(original_path), os.fspath(quantized_path), progress_callback, cancel
        )
    )


def _object(text: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(text)
    return result
