"""TensorNames: the tensors that a model's state_dict holds, by name, with who owns them."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from torch import Tensor, nn


class TensorNames(Mapping[str, Tensor]):
    """The parameters and persistent buffers of a model, those with several names under each."""

    def __init__(self, model: nn.Module) -> None:
        self._owners: dict[str, tuple[nn.Module, str]] = {}
        self._names: defaultdict[int, set[str]] = defaultdict(set)
        for prefix, module in model.named_modules(remove_duplicate=False):
            kept = {n: b for n, b in module._buffers.items() if _is_persistent(module, n)}
            for leaf, tensor in (module._parameters | kept).items():
                if tensor is not None:
                    name = f"{prefix}.{leaf}" if prefix else leaf
                    self._owners[name] = (module, leaf)
                    self._names[id(tensor)].add(name)

    def __getitem__(self, name: str) -> Tensor:
        module, leaf = self._owners[name]
        return getattr(module, leaf)

    def __iter__(self) -> Iterator[str]:
        return iter(self._owners)

    def __len__(self) -> int:
        return len(self._owners)

    def owner(self, name: str) -> tuple[nn.Module, str]:
        """Return the module that holds the tensor, and the tensor's name there."""
        return self._owners[name]

    def aliases(self, name: str) -> set[str]:
        """Return all names of the tensor, `name` among them: more than one where it is shared."""
        return self._names[id(self[name])]


def _is_persistent(module: nn.Module, name: str) -> bool:
    return name not in module._non_persistent_buffers_set
