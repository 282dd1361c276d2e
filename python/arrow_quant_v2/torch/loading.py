"""load_model: a model of torch takes the weights of a quantized model."""

# torch is not fully typed, and is nothing but Any where its types are left out.
# mypy: disable-error-code="misc, no-any-return, no-untyped-call"

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from arrow_quant_v2.errors import ConfigurationError, MetadataError, ShapeMismatchError
from arrow_quant_v2.load import QuantizedModel, QuantizedTensor, load_quantized
from arrow_quant_v2.time_groups import TimeGroups
from arrow_quant_v2.torch.empty_model import computed_buffers
from arrow_quant_v2.torch.layers import class_for, quantized_layer
from arrow_quant_v2.torch.quantized_layer import QuantizedLayer
from arrow_quant_v2.torch.tensor_names import TensorNames
from arrow_quant_v2.torch.timesteps import PickUpTimestep

_LOG = logging.getLogger(__name__)
_Module = TypeVar("_Module", bound=nn.Module)


def load_model(
    model: _Module,
    path: str | os.PathLike[str],
    *,
    component: str | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    strict: bool = True,
) -> _Module:
    """Give a model the weights of a quantized model, which stay packed.

    Linear layers and convolutions whose weights are quantized are replaced, in place, by layers
    that hold the packed codes; all other tensors are loaded into the model's parameters and
    buffers. Quantized weights of other modules are dequantized into their parameters.

    Parameters
    ----------
    model : torch.nn.Module
        The model, as its class makes it; its weights do not matter, and its parameters may be on
        the meta device.
    path : str or os.PathLike
        The directory that a quantization made.
    component : str, optional
        The part of a pipeline to load, e.g. "transformer". Without it, the only one, or the one of
        the model's class.
    device : str or torch.device, optional
        Where the tensors go; without it, where the model's are, and the CPU for those on the meta
        device.
    dtype : torch.dtype, optional
        The floating-point type of parameters, and of the weights that layers show; without it, the
        model's own. Codes and scales keep theirs.
    strict : bool
        Whether names that only one side has are an error; otherwise they are logged.

    Returns
    -------
    torch.nn.Module
        `model`.

    Raises
    ------
    ModelNotFoundError
        If there is no finished quantized model at `path`.
    ConfigurationError
        If there is no such component, or it cannot be told which one is meant; if the model was
        loaded before.
    MetadataError
        If model and files do not have the same tensors.
    ShapeMismatchError
        If a tensor has another shape in the model.
    QuantizationError
        If the files cannot be read.

    Examples
    --------
    >>> from arrow_quant_v2.torch import load_model
    >>> from diffusers import DiTTransformer2DModel
    >>> config = DiTTransformer2DModel.load_config("digits-int4/transformer")
    >>> model = load_model(DiTTransformer2DModel.from_config(config), "digits-int4").eval()
    """
    if any(isinstance(module, QuantizedLayer) for module in model.modules()):
        raise ConfigurationError(
            f"model: this {type(model).__name__} holds packed weights already: build a new one"
        )
    with load_quantized(path) as source:
        name = component_for(model, source, component)
        tensors = {t.name: t for t in source.values() if t.component == name}
        where = f"'{os.fspath(path)}'" + (f", component '{name}'" if name else "")
        groups = source.time_groups(name)
        _Loader(model, tensors, groups, where, device, dtype).run(strict)
        layers = [module for module in model.modules() if isinstance(module, QuantizedLayer)]
        if groups is not None and any(layer.needs_timestep for layer in layers):
            PickUpTimestep(model, groups)
    return model


def component_for(model: nn.Module, source: QuantizedModel, asked: str | None) -> str:
    """Return the component that `model` takes its weights from."""
    classes = {c["name"]: c["class_name"] for c in source.manifest["components"]}
    if asked is not None:
        if asked in classes:
            return asked
        raise ConfigurationError(
            f"component = {asked!r}: '{source.path}' has {_listed(map(repr, classes))}"
        )
    if len(classes) == 1:
        return str(next(iter(classes)))
    own = type(model).__name__
    fitting = [name for name, class_name in classes.items() if class_name == own]
    if len(fitting) == 1:
        return str(fitting[0])
    listed = _listed(f"'{name}' ({class_name})" for name, class_name in classes.items())
    raise ConfigurationError(
        f"'{source.path}' has the components {listed}, and "
        f"{len(fitting) or 'none'} of them of the model's class {own}: pass component="
    )


class _Loader:
    """One call of load_model."""

    def __init__(
        self,
        model: nn.Module,
        tensors: dict[str, QuantizedTensor],
        time_groups: TimeGroups | None,
        where: str,
        device: str | torch.device | None,
        dtype: torch.dtype | None,
    ) -> None:
        self._model = model
        self._tensors = tensors
        self._time_groups = time_groups
        self._where = where
        self._device = None if device is None else torch.device(device)
        self._dtype = dtype
        self._names = TensorNames(model)

    def run(self, strict: bool) -> None:
        used = {name: self._names.aliases(name) for name in self._tensors if name in self._names}
        self._check_shapes(used)
        self._check_names({alias for aliases in used.values() for alias in aliases}, strict)
        replaced: dict[int, nn.Module] = {}
        done: set[str] = set()
        # Kept tensors first: a layer that replaces another shares its bias.
        for name in sorted(used, key=lambda name: self._tensors[name].quant_type != "none"):
            aliases = used[name]
            if name not in done:
                self._load(self._tensors[name], aliases, replaced)
                done |= aliases
        replace_modules(self._model, replaced)
        self._move_the_rest()

    def _check_shapes(self, used: Iterable[str]) -> None:
        for name in used:
            ours, theirs = self._tensors[name].shape, tuple(self._names[name].shape)
            if ours != theirs:
                raise ShapeMismatchError(
                    f"tensor '{name}' has the shape {list(ours)} in {self._where}, and "
                    f"{list(theirs)} in the model of class {type(self._model).__name__}: build the "
                    "model with the configuration of the source"
                )

    def _check_names(self, found: set[str], strict: bool) -> None:
        ignored = getattr(self._model, "_keys_to_ignore_on_load_unexpected", None) or []
        lacking = [
            name
            for name in self._tensors
            if name not in self._names and not any(re.search(p, name) for p in ignored)
        ]
        missing = [name for name in self._names if name not in found]
        class_name = type(self._model).__name__
        complaints = []
        if lacking:
            complaints.append(f"the model of class {class_name} has no tensor {_listed(lacking)}")
        if missing:
            complaints.append(f"{self._where} has no tensor {_listed(missing)} of {class_name}")
        if not complaints:
            return
        if strict:
            raise MetadataError(
                f"{self._where} does not fit the model: {'; '.join(complaints)}; build the model "
                "with the configuration of the source, or pass strict=False to load what fits"
            )
        _LOG.warning("%s: %s", self._where, "; ".join(complaints))

    def _load(
        self, tensor: QuantizedTensor, aliases: set[str], replaced: dict[int, nn.Module]
    ) -> None:
        """Load `tensor` under its names, of which there are several where modules share it."""
        dense = []
        layer: nn.Module | None = None
        for alias in aliases:
            owner, leaf = self._names.owner(alias)
            if id(owner) in replaced and leaf == "weight":
                continue
            if tensor.quant_type != "none" and leaf == "weight" and class_for(owner) is not None:
                old = owner.weight
                device, dtype = self._device_of(old), self._dtype_of(old)
                new = quantized_layer(owner, tensor, self._time_groups, device, dtype)
                if layer is not None:
                    new._buffers.update(layer._buffers)
                replaced[id(owner)] = layer = new
            else:
                dense.append((owner, leaf))
        if dense:
            self._load_dense(tensor, dense)

    def _load_dense(self, tensor: QuantizedTensor, places: list[tuple[nn.Module, str]]) -> None:
        owner, leaf = places[0]
        old = getattr(owner, leaf)
        wanted = self._dtype_of(old)
        via = wanted if wanted in (torch.float16, torch.bfloat16) else torch.float32
        values = tensor.dequantize(via)
        if not isinstance(values, Tensor):
            values = torch.from_numpy(values)
        values = values.to(self._device_of(old), wanted).reshape(old.shape)
        if isinstance(old, nn.Parameter):
            values = nn.Parameter(values, requires_grad=old.requires_grad)
        for owner, leaf in places:
            registry = owner._parameters if leaf in owner._parameters else owner._buffers
            registry[leaf] = values

    def _device_of(self, old: Tensor) -> torch.device:
        if self._device is not None:
            return self._device
        return torch.device("cpu") if old.is_meta else old.device

    def _dtype_of(self, old: Tensor) -> torch.dtype:
        return self._dtype if self._dtype is not None and old.is_floating_point() else old.dtype

    def _move_the_rest(self) -> None:
        """Bring what is in no file to where the rest is: buffers that the class computes."""
        if any(buffer.is_meta for buffer in self._model.buffers()):
            computed = computed_buffers(self._model)
            for name, buffer in list(self._model.named_buffers()):
                if buffer.is_meta and name in computed:
                    owner, _, leaf = name.rpartition(".")
                    again = computed[name].to(buffer.dtype)
                    self._model.get_submodule(owner)._buffers[leaf] = again
        left = [name for name, buffer in self._model.named_buffers() if buffer.is_meta]
        left += [name for name, parameter in self._model.named_parameters() if parameter.is_meta]
        if left:
            raise MetadataError(
                f"{_listed(left)} of {type(self._model).__name__} lie on the meta device, and are "
                f"in no file of {self._where}: build the model on the CPU, or with only its "
                "parameters on the meta device"
            )
        # Not the model's own to(): diffusers' warns of casts that nobody asked for.
        nn.Module.to(self._model, device=self._device, dtype=self._dtype)


def replace_modules(model: nn.Module, replaced: Mapping[int, nn.Module]) -> None:
    """Put new modules where old ones are, wherever a model uses them.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.
    replaced : mapping of int to torch.nn.Module
        From the id of the old module to the new one.
    """
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if id(child) in replaced:
                parent._modules[name] = replaced[id(child)]


def _listed(names: Iterable[Any], limit: int = 8) -> str:
    """Return the first names, and how many more there are."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more
