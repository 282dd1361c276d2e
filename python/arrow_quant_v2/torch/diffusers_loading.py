"""Quantized models through diffusers: ``from_pretrained`` of a directory that we wrote.

diffusers asks a registered quantizer only after it has found weights in safetensors or pickles, and
only where accelerate is installed. So ``ModelMixin.from_pretrained`` is wrapped: a local directory
whose config.json names the method "arrow_quant" is loaded by `load_model`, and every other call
goes on to diffusers unchanged. The registered classes describe the model to the rest of diffusers.
"""

# diffusers is nothing but Any where its types are left out.
# mypy: disable-error-code="misc, no-any-return, no-untyped-call"

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.quantizers import auto
from diffusers.quantizers.base import DiffusersQuantizer
from diffusers.quantizers.quantization_config import QuantizationConfigMixin

from arrow_quant_v2.errors import ConfigurationError
from arrow_quant_v2.torch.empty_model import parameters_on_meta
from arrow_quant_v2.torch.loading import load_model

METHOD = "arrow_quant"
# Arguments of from_pretrained that ask for what a quantized model does not do.
_REFUSED = ("parallel_config", "use_flashpack", "ignore_mismatched_sizes")
# Arguments that say how to find or read files of weights, of which there are none.
_OF_FILES = (
    "low_cpu_mem_usage",
    "variant",
    "use_safetensors",
    "disable_mmap",
    "flashpack_kwargs",
    "max_memory",
    "offload_folder",
    "offload_state_dict",
)


class ArrowQuantConfig(QuantizationConfigMixin):
    """The entry "quantization_config" of a config.json."""

    def __init__(self, **options: Any) -> None:
        self.__dict__.update(options | {"quant_method": METHOD})

    def to_diff_dict(self) -> dict[str, Any]:
        """Return all options: none has a default."""
        return self.to_dict()


class ArrowQuantizer(DiffusersQuantizer):
    """What diffusers asks about a quantized model."""

    def validate_environment(self, *args: Any, **kwargs: Any) -> None:
        """Refuse what the wrapped from_pretrained did not take: a name on the Hub."""
        raise ConfigurationError(
            "a model quantized by arrow_quant is loaded from a local directory with manifest.json: "
            "download it first, with huggingface_hub.snapshot_download, and pass its path; with a "
            "component's name as subfolder"
        )

    def _process_model_before_weight_loading(self, model: Any, **kwargs: Any) -> None:
        self.validate_environment()

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> None:
        self.validate_environment()

    @property
    def is_serializable(self) -> bool:
        """Whether save_pretrained can write it: no; copy the directory that it came from."""
        return False

    @property
    def is_trainable(self) -> bool:
        """Whether its weights can be trained: no; adapters beside them can."""
        return False


def register() -> None:
    """Make diffusers know the method; once is enough."""
    if METHOD in auto.AUTO_QUANTIZER_MAPPING:
        return
    auto.AUTO_QUANTIZER_MAPPING[METHOD] = ArrowQuantizer
    auto.AUTO_QUANTIZATION_CONFIG_MAPPING[METHOD] = ArrowQuantConfig
    plain = ModelMixin.from_pretrained.__func__

    @functools.wraps(plain)
    def from_pretrained(cls: Any, path: Any, **kwargs: Any) -> Any:
        folder = _quantized_folder(path, kwargs.get("subfolder"))
        if folder is None:
            return plain(cls, path, **kwargs)
        return _load(cls, path, folder, **kwargs)

    wrapped: Any = from_pretrained
    ModelMixin.from_pretrained = classmethod(wrapped)


def _quantized_folder(path: Any, subfolder: str | None) -> Path | None:
    """Return the folder of a component that we quantized; None where it is something else."""
    if not isinstance(path, str | os.PathLike):
        return None
    folder = Path(path, subfolder or "")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return (
        folder if (config.get("quantization_config") or {}).get("quant_method") == METHOD else None
    )


def _load(
    cls: Any,
    path: Any,
    folder: Path,
    *,
    torch_dtype: torch.dtype | None = None,
    dtype: torch.dtype | None = None,
    device_map: Any = None,
    quantization_config: Any = None,
    output_loading_info: bool = False,
    **kwargs: Any,
) -> Any:
    """Load the component in `folder`, as from_pretrained with these arguments does."""
    refused = [name for name in _REFUSED if kwargs.pop(name, None)]
    if refused:
        raise ConfigurationError(
            f"{refused[0]} of from_pretrained is not supported for '{folder}', which arrow_quant "
            "quantized: leave it out"
        )
    device = _device(device_map)
    for name in _OF_FILES:
        kwargs.pop(name, None)
    config, unused = cls.load_config(path, return_unused_kwargs=True, **kwargs)
    merged = auto.DiffusersAutoQuantizer.merge_quantization_configs(
        config["quantization_config"], quantization_config
    )
    wanted = dtype or torch_dtype
    with parameters_on_meta(wanted):
        model = cls.from_config(config | {"quantization_config": merged}, **unused)
    for name, parameter in model.named_parameters():
        if any(part in (cls._keep_in_fp32_modules or ()) for part in name.split(".")):
            parameter.data = parameter.data.float()
    root, component = _root(folder)
    load_model(model, root, component=component, device=device)
    model.register_to_config(_name_or_path=path)
    model.hf_quantizer = ArrowQuantizer(merged)
    model.eval()
    if output_loading_info:
        names = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
        return model, {name: [] for name in names}
    return model


def _root(folder: Path) -> tuple[Path, str | None]:
    """Return the directory with the manifest, and the name of the component in `folder`."""
    for root in (folder, *folder.absolute().parents):
        manifest = root / "manifest.json"
        if not manifest.is_file():
            continue
        for component in json.loads(manifest.read_text(encoding="utf-8"))["components"]:
            if (root / component["subdir"]).resolve() == folder.resolve():
                return root, component["name"]
    return folder, None


def _device(device_map: Any) -> torch.device | None:
    """Return the one device that a device_map asks for."""
    if isinstance(device_map, dict) and list(device_map) == [""]:
        device_map = device_map[""]
    if device_map is None or isinstance(device_map, torch.device):
        return device_map
    if isinstance(device_map, str | int) and device_map not in ("auto", "balanced", "sequential"):
        return torch.device(device_map)
    raise ConfigurationError(
        f"device_map = {device_map!r}: a quantized model goes to one device; pass its name, or "
        "{'': device}"
    )
