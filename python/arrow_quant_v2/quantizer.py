"""ArrowQuantV2: makes a model small, and measures what that cost."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arrow_quant_v2 import _core
from arrow_quant_v2._core import DiffusionQuantConfig
from arrow_quant_v2.errors import ModelNotFoundError

StrPath = str | os.PathLike[str]
ProgressCallback = Callable[[str, float], object]


class ArrowQuantV2:
    """Quantizes models and validates what came out.

    An instance holds no model and can be used by several threads at once. Runs release the GIL;
    Ctrl-C stops them, and the next run of the same command takes up what was finished.

    Parameters
    ----------
    mode : str, optional
        "diffusion" quantizes the denoiser of a diffusion model by the rules for its layers, "base"
        every weight of any model. Wins over the ``mode`` of a config; where it is not given, the
        config's counts, which is "diffusion" by default.

    Raises
    ------
    ConfigurationError
        For another mode.

    Examples
    --------
    >>> from arrow_quant_v2 import ArrowQuantV2, DiffusionQuantConfig
    >>> quantizer = ArrowQuantV2()
    >>> config = DiffusionQuantConfig(bit_width=4)
    >>> result = quantizer.quantize_diffusion_model("model", "model-int4", config)
    >>> result["bit_width"], result["compression_ratio"] > 1
    (4, True)
    >>> validation = quantizer.validate_quality("model", "model-int4")
    >>> validation["passed"]
    True
    """

    def __init__(self, mode: str | None = None) -> None:
        self._mode = None if mode is None else DiffusionQuantConfig(mode=mode).mode

    @property
    def mode(self) -> str:
        """What kind of model is quantized, where a config says nothing else."""
        return DiffusionQuantConfig().mode if self._mode is None else self._mode

    def __repr__(self) -> str:
        return f"ArrowQuantV2(mode={self.mode!r})"

    def _chosen(self, config: DiffusionQuantConfig | None) -> DiffusionQuantConfig:
        """Return what a run follows: a given config, and the mode of this quantizer."""
        chosen = DiffusionQuantConfig() if config is None else config
        if not isinstance(chosen, DiffusionQuantConfig):
            raise TypeError(f"config is a {type(config).__name__}, not a DiffusionQuantConfig")
        if self._mode is not None and self._mode != chosen.mode:
            chosen = copy.copy(chosen)
            chosen.mode = self._mode
        return chosen

    def quantize_diffusion_model(
        self,
        model_path: StrPath,
        output_path: StrPath,
        config: DiffusionQuantConfig | None = None,
        progress_callback: ProgressCallback | None = None,
    ) -> dict[str, Any]:
        """Quantize a model into a new directory.

        The output appears whole or not at all. An unfinished run of the same options is taken up
        where it stopped; a finished one is verified and left as it is.

        Parameters
        ----------
        model_path : str or os.PathLike
            A .safetensors file, a directory with one or with shards, a transformers directory, or
            a diffusers pipeline.
        output_path : str or os.PathLike
            The directory to make.
        config : DiffusionQuantConfig, optional
            The defaults where not given.
        progress_callback : callable, optional
            Called as ``progress_callback(message, fraction)`` with a fraction from 0.0 to 1.0 that
            never falls, from a thread of the run. What it raises stops the run and is raised here.

        Returns
        -------
        dict
            ``quantized_path`` (str), ``compression_ratio``, ``cosine_similarity`` (mean over the
            quantized layers, −1 … 1), ``model_size_mb`` (10⁶ bytes), ``modality`` ("text", "code",
            "image", "audio" or "unknown"), ``bit_width``, ``quantization_time_s`` (seconds), and
            more: worst layer, SQNR in dB, bits per weight, every layer, promotions, warnings.
            ``time_aware_applied``, ``spatial_applied`` and ``thermodynamic_applied`` (bool) tell
            whether these mechanisms took part, ``time_aware_reason`` and so on (str) why not, and
            ``calibration`` whose data were used ("none" or the file). ``allocation`` explains the
            bits of every layer under a target, and is None without one.

        Raises
        ------
        ConfigurationError
            If an option is not allowed.
        ModelNotFoundError
            If there is no model at `model_path`.
        QuantizationError
            If the model cannot be read, quantized or written.
        """
        return _object(
            _core.quantize_model(
                os.fspath(model_path),
                os.fspath(output_path),
                self._chosen(config),
                progress_callback,
            )
        )

    def quantize_from_safetensors(
        self,
        safetensors_path: StrPath,
        output_path: StrPath,
        config: DiffusionQuantConfig | None = None,
        progress_callback: ProgressCallback | None = None,
    ) -> dict[str, Any]:
        """Quantize a .safetensors file, or a directory with one or with shards.

        Everything else is as in `quantize_diffusion_model`.

        Raises
        ------
        ModelNotFoundError
            Also if the path is a file of another kind.
        """
        path = Path(safetensors_path)
        if path.is_file() and path.suffix != ".safetensors":
            raise ModelNotFoundError(
                f"{path} is not a .safetensors file: give one, or a directory that holds some"
            )
        return self.quantize_diffusion_model(path, output_path, config, progress_callback)

    def validate_quality(
        self,
        original_path: StrPath,
        quantized_path: StrPath,
        progress_callback: ProgressCallback | None = None,
    ) -> dict[str, Any]:
        """Measure a quantized model against its original.

        Every quantized tensor is dequantized by the code that `load_quantized` uses.

        Parameters
        ----------
        original_path : str or os.PathLike
            The source model; it may itself be a quantized one.
        quantized_path : str or os.PathLike
            What a quantization made.
        progress_callback : callable, optional
            As in `quantize_diffusion_model`.

        Returns
        -------
        dict
            ``cosine_similarity`` (mean over the quantized layers), ``compression_ratio``,
            ``model_size_mb`` (10⁶ bytes), ``per_layer_accuracy`` (dict from layer to cosine
            similarity), ``passed`` (whether the worst layer reaches the ``min_accuracy`` of the
            quantization and no tensor is missing, extra or of another shape), and more: worst
            layer, SQNR in dB, mismatches.

        Raises
        ------
        ValidationError
            If the two cannot be compared.
        ModelNotFoundError
            If one of them is not there.
        """
        return _object(
            _core.validate_quality(
                os.fspath(original_path), os.fspath(quantized_path), progress_callback
            )
        )


def inspect_model(path: StrPath, config: DiffusionQuantConfig | None = None) -> dict[str, Any]:
    """Tell what is in a model without reading a weight.

    Parameters
    ----------
    path : str or os.PathLike
        A model as `ArrowQuantV2.quantize_diffusion_model` takes it, or one that it made.
    config : DiffusionQuantConfig, optional
        The options that the plan for a source model follows.

    Returns
    -------
    dict
        ``kind`` ("source" or "quantized"), modality, sizes, and ``layers``: shape, bits, bytes and
        the reason for what is kept. Of a source it is what quantizing would do.

    Examples
    --------
    >>> from arrow_quant_v2 import inspect_model
    >>> inspect_model("model")["kind"]
    'source'
    """
    chosen = DiffusionQuantConfig() if config is None else config
    return _object(_core.inspect_model(os.fspath(path), chosen))


def _object(text: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(text)
    return result
