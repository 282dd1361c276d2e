"""A model while it is looked at: in evaluation mode, with hooks on it and its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from arrow_quant_v2.calibration.collector import Collector
from arrow_quant_v2.calibration.layers import Layer


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Let a model run without gradients and in evaluation mode, and put its mode back."""
    import torch

    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def watched(
    model: Any,
    collector: Collector,
    begin: Callable[[tuple[Any, ...], dict[str, Any]], None],
    end: Callable[[], None],
) -> Iterator[None]:
    """Watch a model: it is in evaluation mode, and without gradients, meanwhile.

    Parameters
    ----------
    model : torch.nn.Module
    collector : Collector
        Sees the inputs of its layers.
    begin, end : callable
        Called before each call of the model, with its arguments, and after it.
    """

    def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        begin(args, kwargs)

    def after(*_: Any) -> None:
        end()

    handles = [
        model.register_forward_pre_hook(before, with_kwargs=True),
        *(_watch_layer(layer, collector) for layer in collector.layers),
        model.register_forward_hook(after),
    ]
    try:
        with evaluating(model):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _watch_layer(layer: Layer, collector: Collector) -> Any:
    def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = (*args, *kwargs.values())
        collector.see(layer, next(value for value in given if hasattr(value, "detach")))

    return layer.module.register_forward_pre_hook(before, with_kwargs=True)
