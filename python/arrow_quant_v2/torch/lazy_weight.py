"""LazyWeight: what a quantized layer shows as its weight, decoded when it is computed with."""

# mypy: disable-error-code="misc, no-any-return, untyped-decorator"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map


class LazyWeight(Tensor):
    """A tensor that knows its shape, type and device, and makes its values at each operation.

    Libraries ask a layer for ``weight.dtype`` or ``weight.device`` at every step, which must not
    decode a matrix. Any operation on it sees an ordinary tensor.
    """

    # Operations reach __torch_dispatch__, below autograd, without a detour.
    __torch_function__ = torch._C._disabled_torch_function_impl

    _decode: Callable[[], Tensor]

    @staticmethod
    def __new__(
        cls: type[LazyWeight],
        decode: Callable[[], Tensor],
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
    ) -> LazyWeight:
        """Make one whose values ``decode()`` gives, in this shape and type, on this device."""
        self = Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=device)
        self._decode = decode
        return self

    def __repr__(self, **_: Any) -> str:
        return f"LazyWeight({list(self.shape)}, dtype={self.dtype}, device='{self.device}')"

    def numpy(self, *, force: bool = False) -> Any:
        """Return the decoded values as a numpy array."""
        return self._decode().numpy(force=force)

    @classmethod
    def __torch_dispatch__(
        cls,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run `function` on the decoded values."""

        def plain(value: Any) -> Any:
            return value._decode() if isinstance(value, LazyWeight) else value

        return function(*tree_map(plain, args), **tree_map(plain, kwargs or {}))
