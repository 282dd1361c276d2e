"""Packages that collecting needs and the rest of the library does not."""

from __future__ import annotations

import importlib
from typing import Any

from arrow_quant_v2.errors import ConfigurationError

_REMEDIES = {
    "torch": "pip install 'arrow-quant-v2[torch]'",
    "safetensors": "pip install 'arrow-quant-v2[torch]'",
    "diffusers": "pip install diffusers",
    "transformers": "pip install transformers",
    "gguf": "pip install gguf",
    "yaml": "pip install pyyaml",
}


def require(name: str, purpose: str) -> Any:
    """Import a package that may be missing.

    Parameters
    ----------
    name : str
        The module, "torch" or "safetensors.torch".
    purpose : str
        What it is for, for the message.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it is not installed; says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise ImportError(
            f"{purpose} needs {package}, which cannot be imported ({error}); "
            f"run: {_REMEDIES[package]}"
        ) from error


def require_model(model: object) -> None:
    """Refuse what is not a model that can be run; torch must be there.

    Raises
    ------
    ConfigurationError
        Says what was given instead of a model.
    """
    if not isinstance(model, require("torch", "Running a model").nn.Module):
        what = f"the class {model.__name__}" if isinstance(model, type) else f"{model!r:.80}"
        raise ConfigurationError(
            f"model is {what}: pass the network itself, a torch.nn.Module in full precision, as "
            "from_pretrained returns it, or as a pipeline has it under transformer or unet"
        )
