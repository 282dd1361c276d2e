"""What a model is called with: its batch, its timestep, its tokens."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrow_quant_v2.errors import ConfigurationError

TIME_NAMES = ("timestep", "timesteps", "t", "sigma", "sigmas", "noise_labels", "time")


@dataclass
class ModelCall:
    """The arguments of a call, as far as collecting cares.

    Attributes
    ----------
    batch : int
    first : torch.Tensor or None
        The first argument that has a batch.
    kind : str
        "timestep", "masked_fraction" or "none".
    time_name : str
        The argument that the time came from; "" for the other kinds.
    time : ndarray of float64, [batch]
    tokens : ndarray of int64, [batch, tokens], or None
        Of a masked text model.
    """

    batch: int
    first: Any
    kind: str
    time_name: str
    time: NDArray[np.float64]
    tokens: NDArray[np.int64] | None = None


def read_call(
    model: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    mask_token_id: int | None,
) -> ModelCall:
    """Look at the arguments of a call.

    Parameters
    ----------
    model : torch.nn.Module
        Its forward's signature names positional arguments.
    args, kwargs
        What it is called with.
    mask_token_id : int or None
        The mask's token, for text models without a timestep.

    Raises
    ------
    ConfigurationError
        If the timestep's shape does not fit the batch, or it is not finite.
    """
    named = _named(_forward(model), args, kwargs)
    time_name = _time_name(named)
    first = _first_batched(named, time_name)
    batch = _batch(first)
    tensor = first[0] if isinstance(first, list | tuple) else first
    if time_name:
        return ModelCall(
            batch, tensor, "timestep", time_name, _times(time_name, named[time_name], batch)
        )
    if mask_token_id is not None:
        tokens = _tokens(named)
        fraction = (tokens == mask_token_id).mean(axis=1)
        return ModelCall(batch, tensor, "masked_fraction", "", np.round(fraction * 20) / 20, tokens)
    return ModelCall(batch, tensor, "none", "", np.zeros(batch))


def _forward(model: Any) -> Callable[..., Any]:
    """Return the forward that names its parameters, where a wrapper only hands them on."""
    forward: Callable[..., Any] = model.forward
    kinds = {p.kind for p in inspect.signature(forward).parameters.values()}
    if kinds <= {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        forward = type(model).forward.__get__(model)
    return forward


def _named(
    forward: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments by name, in the order of the signature."""
    try:
        bound = inspect.signature(forward).bind_partial(*args, **kwargs)
    except (TypeError, ValueError):
        return {str(i): value for i, value in enumerate(args)} | dict(kwargs)
    named: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            named |= {f"{name}[{i}]": item for i, item in enumerate(value)}
        elif kind is inspect.Parameter.VAR_KEYWORD:
            named |= value
        else:
            named[name] = value
    return named


def _time_name(named: Mapping[str, Any]) -> str:
    """Return the name of the argument that is the timestep; "" if there is none."""
    times = [name for name, value in named.items() if _may_be_time(value)]
    for known in TIME_NAMES:
        if known in times:
            return known
    alike = [name for name in times if "time" in name or "sigma" in name or "noise" in name]
    floats = [name for name in times if _is_floating(named[name])]
    for found in (alike, floats):
        if len(found) == 1:
            return found[0]
    return ""


def _may_be_time(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float) or (hasattr(value, "dim") and value.dim() <= 1)


def _is_floating(value: Any) -> bool:
    return isinstance(value, float) or bool(
        hasattr(value, "is_floating_point") and value.is_floating_point()
    )


def _first_batched(named: Mapping[str, Any], time_name: str) -> Any:
    for name, value in named.items():
        if name == time_name:
            continue
        if hasattr(value, "dim") and value.dim() > 1:
            return value
        if isinstance(value, list | tuple) and value and hasattr(value[0], "dim"):
            return list(value)  # of samples
    raise ConfigurationError(
        f"the model was called with {sorted(named)}, none of them a tensor with a batch; give "
        "tensors whose first axis is the batch"
    )


def _batch(first: Any) -> int:
    return len(first) if isinstance(first, list) else int(first.shape[0])


def _times(name: str, value: Any, batch: int) -> NDArray[np.float64]:
    values = value.detach().double().cpu().numpy() if hasattr(value, "detach") else value
    times = np.asarray(values, np.float64).reshape(-1)
    if not np.isfinite(times).all():
        raise ConfigurationError(f"{name} = {times.tolist()}: timesteps must be finite")
    if len(times) not in (1, batch):
        raise ConfigurationError(
            f"{name} has {len(times)} values and the batch {batch} samples; give one timestep, or "
            "one of each sample"
        )
    return np.ascontiguousarray(np.broadcast_to(times, (batch,)))


def _tokens(named: Mapping[str, Any]) -> NDArray[np.int64]:
    for name in ("input_ids", *named):
        value: Any = named.get(name)
        if hasattr(value, "dim") and value.dim() == 2 and not value.is_floating_point():
            tokens: NDArray[np.int64] = value.detach().long().cpu().numpy()
            return tokens
    raise ConfigurationError(
        f"mask_token_id is given, but none of {sorted(named)} is a tensor of tokens [batch, "
        "tokens]; leave it out, or pass input_ids"
    )


def mask_token_of(model: Any) -> int | None:
    """Return the token that stands for a mask, as a model's config has it; None where it has none.

    A config is an object, as transformers has it, or a mapping.
    """
    config = getattr(model, "config", None)
    mask: int | None = getattr(config, "mask_token_id", None)
    return config.get("mask_token_id") if mask is None and isinstance(config, Mapping) else mask


def arguments_of(given: Any, number: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword arguments of one call, as they stand in ``inputs``.

    Raises
    ------
    ConfigurationError
        If they are not a mapping; names the call by its number, from 0.
    """
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"call {number} in inputs is of type {type(given).__name__}: give a dictionary of the "
            'arguments for each call of the model, positional ones as a tuple under "args"'
        )
    kwargs = dict(given)
    args = kwargs.pop("args", ())
    return tuple(args) if isinstance(args, list | tuple) else (args,), kwargs
