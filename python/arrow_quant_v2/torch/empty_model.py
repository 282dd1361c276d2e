"""Models without memory: how to build one, and how to get back what no file holds."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def parameters_on_meta(dtype: torch.dtype | None = None) -> Iterator[None]:
    """Let modules that are built inside have their parameters on the meta device.

    Buffers, which a class may compute, get memory and values as ever: a file may not hold them.
    The whole process is affected: no other thread should build modules meanwhile.

    Parameters
    ----------
    dtype : torch.dtype, optional
        The type of floats that are built inside without being told one.
    """
    register, default = nn.Module.register_parameter, torch.get_default_dtype()

    def register_on_meta(self: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        register(self, name, parameter)
        # One that is there already may be shared, and must stay the same object.
        if parameter is not None and not parameter.is_meta:
            empty = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
            self._parameters[name] = empty

    nn.Module.register_parameter = register_on_meta
    torch.set_default_dtype(dtype or default)
    try:
        yield
    finally:
        nn.Module.register_parameter = register
        torch.set_default_dtype(default)


def computed_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Compute the buffers of a model once more, as its class does from its configuration.

    Parameters
    ----------
    model : nn.Module
        A model of diffusers or transformers.

    Returns
    -------
    dict of str to Tensor
        All buffers, on the CPU; none where the class cannot be built from a configuration.
    """
    build = getattr(type(model), "from_config", None) or getattr(type(model), "_from_config", None)
    config = getattr(model, "config", None)
    if build is None or config is None:
        return {}
    with torch.device("cpu"), parameters_on_meta():
        return dict(build(config).named_buffers())
