"""What a model predicts, taken out of whatever it returns."""

# torch is nothing but Any where its types are left out.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from arrow_quant_v2.errors import ConfigurationError

_NAMES = ("sample", "logits", "prediction", "pred", "last_hidden_state")


def prediction_of(output: Any, given: Any) -> torch.Tensor:
    """Return the prediction, [batch, …].

    Parameters
    ----------
    output : object
        What the model returned: a tensor, a list of one per sample, or one of them in a tuple, a
        dictionary or an object of diffusers or transformers.
    given : torch.Tensor or None
        What it was called with. Where the prediction has twice its channels, the second half is
        the variance that some models learn, and is left out.

    Raises
    ------
    ConfigurationError
        If there is no tensor in it.
    """
    tensor = _tensor_of(output)
    if (
        given is not None
        and tensor.dim() == given.dim() >= 4
        and tensor.shape[1] == 2 * given.shape[1]
        and tensor.shape[2:] == given.shape[2:]
    ):
        return tensor[:, : given.shape[1]]
    return tensor


def _tensor_of(output: Any) -> torch.Tensor:
    if isinstance(output, torch.Tensor) and output.dim() > 0:
        return output
    for name in _NAMES:
        value = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if value is not None and not callable(value):
            return _tensor_of(value)
    if isinstance(output, list) and output and all(isinstance(v, torch.Tensor) for v in output):
        return torch.stack(output)
    values = output.values() if isinstance(output, Mapping) else output
    if isinstance(values, tuple | list) or isinstance(output, Mapping):
        for value in values:
            if isinstance(value, torch.Tensor) and value.dim() > 0:
                return value
            if isinstance(value, list | tuple) and value:
                return _tensor_of(value)
    raise ConfigurationError(
        f"the model returned a {type(output).__name__}, in which there is no prediction: it must "
        "be a tensor, or have one under 'sample', 'logits' or at its first place"
    )
