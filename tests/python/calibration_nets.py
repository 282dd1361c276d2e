"""Small networks that are calibrated, and what plain float64 says of their inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

# Small products are slowed down by threads that wait for a busy core.
torch.set_num_threads(1)


class Mlp(torch.nn.Module):
    """Two layers on x and one on a timestep embedding; to_q and to_k have the same input."""

    def __init__(self) -> None:
        super().__init__()
        self.time = torch.nn.Linear(32, 512)
        self.to_q = torch.nn.Linear(512, 64)
        self.to_k = torch.nn.Linear(512, 64)
        self.out = torch.nn.Linear(64, 512)
        self.small = torch.nn.Linear(512, 8)

    def forward(self, x: torch.Tensor, timestep: Any) -> torch.Tensor:
        t = torch.as_tensor(timestep, dtype=x.dtype).reshape(-1, 1).expand(len(x), 32)
        hidden = torch.tanh(x + self.time(t / 1000)[:, None])
        self.small(hidden)
        return self.out(self.to_q(hidden) * torch.sigmoid(self.to_k(hidden)))


class Convs(torch.nn.Module):
    """Convolutions of one, two and three dimensions with strides, padding and dilation."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.one = nn.Conv1d(32, 40, 15, stride=2, padding=3, dilation=2)
        self.two = nn.Conv2d(32, 64, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2))
        self.same = nn.Conv2d(64, 64, (3, 5), dilation=2, padding="same")
        self.three = nn.Conv3d(32, 32, (2, 3, 3), padding=1)
        self.grouped = nn.Conv2d(64, 64, 3, padding=1, groups=2)
        self.circular = nn.Conv2d(64, 64, 3, padding=1, padding_mode="circular")

    def forward(self, x: torch.Tensor, timestep: Any) -> torch.Tensor:
        self.one(x.flatten(2))
        self.three(x[:, :, None].expand(-1, -1, 3, -1, -1))
        return self.circular(self.grouped(self.same(self.two(x))))


def mlp() -> Mlp:
    torch.manual_seed(0)
    return Mlp().train()


def convs() -> Convs:
    torch.manual_seed(0)
    return Convs()


def calls(
    sets: int = 2, batch: int = 4, timesteps: tuple[int, ...] = (900, 500, 100), seed: int = 1
) -> Iterator[dict[str, Any]]:
    """Arguments of an Mlp's calls: some sets of trajectories, each through all timesteps."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(sets):
        for t in timesteps:
            x = torch.randn((batch, 6, 512), generator=generator) * (1 + t / 1000)
            yield {"x": x, "timestep": t}


def inputs_of(
    model: torch.nn.Module, layer: str, given: list[dict[str, Any]]
) -> list[torch.Tensor]:
    """The inputs of a layer in each call, float64."""
    seen: list[torch.Tensor] = []
    module = model.get_submodule(layer)
    handle = module.register_forward_pre_hook(lambda _, args: seen.append(args[0].double()))
    with torch.no_grad():
        for kwargs in given:
            model(**kwargs)
    handle.remove()
    return seen


def calibrating(trajectories: range) -> list[int]:
    """The places of those that are not held out."""
    return [i for i, number in enumerate(trajectories) if number % 4 != 1]


def same_bytes(a: Any, b: Any) -> bool:
    return np.asarray(a).tobytes() == np.asarray(b).tobytes()
