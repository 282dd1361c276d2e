"""ArrowQuantV2: makes a model small, and measures what that cost."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from arrow_quant_v2 import _core
from arrow_quant_v2._core import DiffusionQuantConfig
from arrow_quant_v2.arrow_tables import ArrowTable
from arrow_quant_v2.config_copy import config_with
from arrow_quant_v2.errors import ModelNotFoundError
from arrow_quant_v2.runs import ProgressCallback, Runs, StrPath

_log = logging.getLogger("arrow_quant_v2")


class ArrowQuantV2:
    """Quantizes models and validates what came out.

    An instance holds no model and can be used by several threads at once. Runs release the GIL;
    Ctrl-C stops them within a tenth of a second and leaves nothing behind. What happens is told to
    ``logging.getLogger("arrow_quant_v2")``.

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
        self._runs = Runs(mode)

    @property
    def mode(self) -> str:
        """What kind of model is quantized, where a config says nothing else."""
        return self._runs.mode

    def __repr__(self) -> str:
        return f"ArrowQuantV2(mode={self.mode!r})"

    def quantize_diffusion_model(
        self,
        model_path: StrPath,
        output_path: StrPath,
        config: DiffusionQuantConfig | None = None,
        progress_callback: ProgressCallback | None = None,
        *,
        model: Any = None,
        inputs: Iterable[Mapping[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Quantize a model into a new directory.

        The output appears whole or not at all. A run of the same options that was killed is taken
        up where it stopped; a finished one is verified and left as it is.

        With the model itself at hand, its predictions on held-out trajectories decide: what was
        calibrated is left out where they are better without it (compensation also block by block),
        and biases are corrected as by `arrow_quant_v2.calibration.refine`. That takes several
        quantizations, and up to three times the memory of the model. Such a run starts anew each
        time.

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
        model : torch.nn.Module, optional
            What the weights belong to, in full precision, ready to run; it is left as it was.
        inputs : iterable of mapping, optional
            With a model: the arguments of its calls, as `arrow_quant_v2.calibration.collect` takes
            them. By default those that it kept beside the calibration data; where there are no such
            data, they are collected from the inputs.

        Returns
        -------
        dict
            ``quantized_path`` (str), ``compression_ratio``, ``cosine_similarity`` (mean over the
            quantized layers, −1 … 1), ``model_size_mb`` (10⁶ bytes), ``modality`` ("text", "code",
            "image", "audio" or "unknown"), ``bit_width``, ``quantization_time_s`` (seconds), and
            more: worst layer, SQNR in dB, bits per weight, every layer, promotions, warnings.
            ``time_aware_applied``, ``spatial_applied``, ``thermodynamic_applied`` and
            ``low_rank_applied`` (bool) tell whether these mechanisms took part,
            ``time_aware_reason`` and so on (str) why not, and
            ``calibration`` whose data were used ("none" or the file). ``markov_validation`` is what
            `get_markov_metrics` returns. ``allocation`` explains the bits of every layer under a
            target, and is None without one. With a model also ``model_gate``, the list of what was
            tried (``step``, ``error_before``, ``error_after``, ``standard_error`` of their ratio,
            ``accepted``), and ``refinement``, of the corrections of biases.

        Raises
        ------
        ConfigurationError
            If an option is not allowed; if there is a model, and neither data nor inputs.
        ModelNotFoundError
            If there is no model at `model_path`.
        QuantizationError
            If the model cannot be read, quantized or written.
        """
        return self._runs.quantize(
            model_path,
            output_path,
            config,
            progress_callback,
            _core.CancelToken(),
            model=model,
            inputs=inputs,
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
        *,
        model: Any = None,
        inputs: Iterable[Mapping[str, Any]] | None = None,
        calibration: StrPath | None = None,
        scheduler: Any = None,
        sampler: Callable[[Any], Any] | None = None,
    ) -> dict[str, Any]:
        """Measure a quantized model against its original.

        Every quantized tensor is dequantized by the code that `load_quantized` uses. With the model
        itself at hand, predictions, layers and samples are compared, too: they tell more than
        weights do.

        Parameters
        ----------
        original_path : str or os.PathLike
            The source model; it may itself be a quantized one.
        quantized_path : str or os.PathLike
            What a quantization made.
        progress_callback : callable, optional
            As in `quantize_diffusion_model`.
        model : torch.nn.Module, optional
            What the weights belong to, in full precision, ready to run; it is left as it was.
        inputs : iterable of mapping, optional
            With a model: the arguments of its calls, as `arrow_quant_v2.calibration.collect` takes
            them. By default those that it kept beside `calibration`, of which the held-out
            trajectories count.
        calibration : str or os.PathLike, optional
            With a model: a calibration file.
        scheduler : object, mapping, str or os.PathLike, optional
            With a model: its scheduler, as `collect` takes it; by default that in the folder of the
            original.
        sampler : callable, optional
            With a model: is called with the original and with the quantized model, after the same
            seed, and returns samples, a tensor.

        Returns
        -------
        dict
            ``cosine_similarity`` (mean over the quantized layers), ``compression_ratio``,
            ``model_size_mb`` (10⁶ bytes), ``per_layer_accuracy`` (dict from layer to cosine
            similarity), ``passed`` (whether the worst layer reaches the ``min_accuracy`` of the
            quantization and no tensor is missing, extra or of another shape), and more: worst
            layer, SQNR in dB, mismatches.

            With a model also ``noise_prediction_error`` (Σ (q − p)² / Σ p², the mean over steps),
            ``noise_prediction_error_per_step`` (list of dict: ``timestep``, ``log_snr``,
            ``relative_error``, ``mse``), ``path_kl`` (divergence of the paths of sampling, in nats;
            None where noise levels are not known, ``path_kl_reason`` says why), ``output_sqnr_db``
            (dict from layer to dB in each of ``output_sqnr_groups``, for the original's inputs),
            ``disagreements`` (layers that weights and outputs rank differently, in words),
            ``validated_trajectories``; of masked text ``token_divergence`` (in nats); with a
            sampler ``sample_psnr_db``.

        Raises
        ------
        ConfigurationError
            If there is a model and no inputs, or the reverse.
        ValidationError
            If the two cannot be compared.
        ModelNotFoundError
            If one of them is not there.
        """
        return self._runs.validate(
            original_path,
            quantized_path,
            progress_callback,
            _core.CancelToken(),
            model=model,
            inputs=inputs,
            calibration=calibration,
            scheduler=scheduler,
            sampler=sampler,
        )

    def get_markov_metrics(self) -> dict[str, Any] | None:
        """Return how far the latest run's activation parameters jump between groups of timesteps.

        A diagnosis (phase 1 of the thermodynamic constraints), which changes no parameter. Turn it
        on with ``enable_markov_validation``; it needs ``activation_bits`` and calibration data.

        Returns
        -------
        dict or None
            None before any run, and after one in which it took no part. ``score`` (0 … 1, mean over
            the layers; 1: all groups have the same parameters), ``largest_jump`` (relative, ≥ 0),
            ``smoothness_threshold``, ``num_violations``, ``violations`` (list of ``layer``,
            ``boundary`` (between this group and the next, group 0 being the noisiest), ``jump``,
            ``noise_floor`` (the jump between what two halves of the calibration data give, or
            None) and ``cause``: "real", "sampling noise" or "unknown"), and ``layers`` (list of
            ``name``, ``score``, ``largest_jump``).

        Examples
        --------
        >>> from arrow_quant_v2 import ArrowQuantV2
        >>> ArrowQuantV2().get_markov_metrics() is None
        True
        """
        return copy.deepcopy(self._runs.markov_metrics)

    def quantize_batch_arrow(
        self,
        table: ArrowTable,
        config: DiffusionQuantConfig | None = None,
        *,
        bit_width: int | None = None,
        continue_on_error: bool = False,
    ) -> pa.RecordBatch:
        """Quantize the layers in a table, many in one call.

        The weights are read where they lie, and the codes are handed out where they were written.
        No layer rules and no fallback apply: every row gets the configured bits.

        Parameters
        ----------
        table : pyarrow.Table or other Arrow data
            Anything with ``__arrow_c_stream__`` or ``__arrow_c_array__``: a table, record batch or
            reader of pyarrow, a polars DataFrame, a DuckDB relation. Columns: ``layer_name``
            (strings, each its own), ``weights`` (lists of float32; float64 and float16 are
            converted), and optionally ``shape`` (lists of int64 or int32; null or absent: one
            row). Other columns are left alone.
        config : DiffusionQuantConfig, optional
            ``bit_width``, ``group_size``, ``method``, ``error_norm`` and ``num_threads`` have an
            effect; the defaults where not given.
        bit_width : int, optional
            2, 4 or 8, instead of the config's.
        continue_on_error : bool
            Whether bad rows come back null, with the reason in a column ``error``, instead of
            raising.

        Returns
        -------
        pyarrow.RecordBatch
            One row per layer, in order: ``layer_name``, ``quantized_data`` (packed codes),
            ``scales`` and ``zero_points`` (float32, one per group), ``shape``, ``bit_width``,
            ``group_size``, ``cosine_similarity`` (−1 … 1) and ``sqnr_db`` (dB; infinite where
            nothing was lost). A weight is about ``scale * (code - zero_point)``.

        Raises
        ------
        TableError
            A ValueError: a column is missing or of another type; a null, NaN or infinite weight;
            an empty name or one that stands twice. Names column, row and value.
        ShapeMismatchError
            A ValueError: a shape does not fit its row's weights.
        QuantizationError
            If the producer of the table fails.
        ConfigurationError
            If an option is not allowed.

        Examples
        --------
        >>> import pyarrow as pa
        >>> from arrow_quant_v2 import ArrowQuantV2
        >>> table = pa.table({"layer_name": ["fc"], "weights": [[0.0, 0.1, 0.2, 0.3]]})
        >>> batch = ArrowQuantV2().quantize_batch_arrow(table, bit_width=2)
        >>> batch["quantized_data"][0].as_py().hex(), batch["bit_width"][0].as_py()
        ('e4', 2)
        """
        chosen = self._runs.chosen(config)
        if bit_width is not None:
            chosen = config_with(chosen, bit_width=bit_width)
        batch = pa.record_batch(_core.quantize_batch_arrow(table, chosen, continue_on_error))
        note = (batch.schema.metadata or {}).get(b"note")
        if note is not None:
            _log.info("quantize_batch_arrow: %s", note.decode())
        return batch

    def dequantize_batch_arrow(self, batch: ArrowTable, *, num_threads: int = 0) -> pa.RecordBatch:
        """Give back the weights of what `quantize_batch_arrow` made.

        Parameters
        ----------
        batch : pyarrow.RecordBatch or other Arrow data
            With the columns that `quantize_batch_arrow` gives; other tools may have stored it
            meanwhile.
        num_threads : int
            Threads to use; 0: as many as this process may use.

        Returns
        -------
        pyarrow.RecordBatch
            ``layer_name``, ``weights`` (lists of float32, ``scale * (code - zero_point)``) and
            ``shape``. Rows without data are null.

        Raises
        ------
        TableError
            A ValueError: a column is missing or of another type, or a value is not allowed.
        ShapeMismatchError
            A ValueError: columns of a row contradict each other.
        QuantizationError
            If the codes are packed in a way that this version does not know.

        Examples
        --------
        >>> import pyarrow as pa
        >>> from arrow_quant_v2 import ArrowQuantV2
        >>> quantizer = ArrowQuantV2()
        >>> table = pa.table({"layer_name": ["fc"], "weights": [[-1.0, 0.0, 1.0, 2.0]]})
        >>> batch = quantizer.quantize_batch_arrow(table, bit_width=2)
        >>> quantizer.dequantize_batch_arrow(batch)["weights"][0].as_py()
        [-1.0, 0.0, 1.0, 2.0]
        """
        return pa.record_batch(_core.dequantize_batch_arrow(batch, num_threads))
