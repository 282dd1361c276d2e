"""Models from their folders: pipelines of diffusers, masked language models of transformers."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from arrow_quant_v2.calibration.collection import at_least, collect
from arrow_quant_v2.calibration.masked_text import masked_inputs, tokenized
from arrow_quant_v2.calibration.model_call import mask_token_of
from arrow_quant_v2.calibration.require import require
from arrow_quant_v2.errors import ConfigurationError, ModelNotFoundError
from arrow_quant_v2.runs import ProgressCallback

TEXT_LENGTH = 128  # tokens of a sequence


def collect_from_folder(
    model: Path,
    *,
    out: Path,
    steps: int,
    samples: int,
    prompts: list[str] | None,
    seed: int,
    hessian: bool,
    progress_callback: ProgressCallback | None,
) -> dict[str, Any]:
    """Load a model and collect.

    Parameters
    ----------
    model : Path
        A diffusers pipeline, or a transformers folder with a masked language model and its
        tokenizer, of which `prompts` are the texts and `steps` means nothing.
    out, steps, samples, prompts, seed, hessian, progress_callback
        As in `collect`.

    Returns
    -------
    dict
        As of `collect`.

    Raises
    ------
    ModelNotFoundError
        If it is no such folder.
    ConfigurationError
        If the model cannot be run by itself.
    """
    at_least("steps", steps)
    at_least("samples", samples)
    options: dict[str, Any] = {
        "out": out,
        "seed": seed,
        "hessian": hessian,
        "progress_callback": progress_callback,
    }
    if (model / "model_index.json").is_file():
        pipe = _load_pipeline(model)
        return collect(pipe, prompts=prompts, steps=steps, samples=samples, **options)
    config = model / "config.json"
    if not config.is_file():
        raise ModelNotFoundError(
            f"{model}: there is neither a model_index.json nor a config.json in it; give the "
            "folder of a diffusers pipeline or of a transformers model"
        )
    described = json.loads(config.read_text(encoding="utf-8"))
    if "_class_name" in described:
        raise ConfigurationError(
            f"{model} is a {described['_class_name']} without its pipeline, and cannot be run by "
            "itself; give the pipeline's folder, or use arrow_quant_v2.calibration.collect(model, "
            "inputs)"
        )
    network, tokenizer, mask = _load_text_model(model)
    if prompts is None:
        raise ConfigurationError(
            f"prompts: {type(network).__name__} needs texts to mask; give a file with --prompts"
        )
    tokens = tokenized(tokenizer, prompts, TEXT_LENGTH)
    inputs = list(masked_inputs(tokens, mask, samples=samples, seed=seed))
    return collect(network, inputs, mask_token_id=mask, **options)


def _load_pipeline(model: Path) -> Any:
    diffusers = require("diffusers", "Loading a pipeline")
    diffusers.utils.logging.disable_progress_bar()
    index = json.loads((model / "model_index.json").read_text(encoding="utf-8"))
    kind = getattr(diffusers, index.get("_class_name", ""), None)
    # A class-conditional pipeline is run without decoding; its decoder may be left out.
    absent = {}
    if kind is not None:
        expected = inspect.signature(kind.__init__).parameters
        if "class_labels" in inspect.signature(kind.__call__).parameters:
            absent = {"vae": None} if "vae" in expected and "vae" not in index else {}
    return diffusers.DiffusionPipeline.from_pretrained(model, **absent)


def _load_text_model(model: Path) -> tuple[Any, Any, int]:
    transformers = require("transformers", "Loading a text model")
    transformers.utils.logging.disable_progress_bar()
    try:
        network = transformers.AutoModelForMaskedLM.from_pretrained(model)
        tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    except (ValueError, OSError, KeyError) as error:
        raise ConfigurationError(
            f"{model} cannot be loaded as a masked language model with its tokenizer ({error}); "
            "use arrow_quant_v2.calibration.collect(model, inputs)"
        ) from error
    mask = mask_token_of(network)
    mask = tokenizer.mask_token_id if mask is None else mask
    if mask is None:
        raise ConfigurationError(
            f"{model}: neither its config nor its tokenizer has a mask token; use "
            "arrow_quant_v2.calibration.collect(model, inputs, mask_token_id=…)"
        )
    return network, tokenizer, int(mask)
