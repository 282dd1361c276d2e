"""Small networks whose quantized layers miss their outputs' means, and calls of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from arrow_quant_v2 import ArrowQuantV2, DiffusionQuantConfig
from tiny import write_safetensors

# Small products are slowed down by threads that wait for a busy core.
torch.set_num_threads(1)

TIMES = (900.0, 700.0, 500.0, 300.0, 100.0)


class Block(torch.nn.Module):
    """A residual block whose second layer has inputs of one sign, which quantizing shifts."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = torch.nn.Linear(width, hidden)
        self.down = torch.nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(torch.relu(self.up(x)))


class Blocks(torch.nn.Module):
    """Residual blocks over tokens; the timestep shifts the input of all."""

    def __init__(self, width: int = 128, hidden: int = 512, depth: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = torch.nn.ModuleList(Block(width, hidden) for _ in range(depth))
        self.direction = torch.nn.Parameter(torch.randn(width))

    def forward(self, x: torch.Tensor, timestep: Any) -> dict[str, torch.Tensor]:
        time = torch.as_tensor(timestep, dtype=x.dtype).reshape(-1, 1, 1)
        x = x + (time / 500 - 1) * self.direction
        for block in self.blocks:
            x = block(x)
        return {"sample": x}


class Image(torch.nn.Module):
    """Two convolutions and a layer on the timestep."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.time = torch.nn.Linear(128, 128)
        self.first = torch.nn.Conv2d(128, 64, 3, padding=1)
        self.second = torch.nn.Conv2d(64, 128, 3, padding=1)

    def forward(self, x: torch.Tensor, timestep: Any) -> tuple[torch.Tensor]:
        t = torch.as_tensor(timestep, dtype=x.dtype).reshape(-1, 1).expand(1, 128)
        hidden = x + self.time(torch.cos(t / 1000))[..., None, None]
        return (self.second(torch.relu(self.first(hidden))),)


class MaskedText(torch.nn.Module):
    """Logits of 64 tokens from a sequence, some of it masked (token 64)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(65, 128)
        self.block = Block(128, 512)
        self.head = torch.nn.Linear(128, 64)

    def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.embed(input_ids)
        return {"logits": 8 * self.head(self.block(x + x.mean(1, keepdim=True)))}


def token_calls(trajectories: int = 8, seed: int = 1) -> list[dict[str, Any]]:
    """Arguments of a MaskedText's calls: fewer and fewer masks."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 64, (trajectories, 40), generator=generator)
    places = torch.rand(tokens.shape, generator=generator).argsort(dim=1).argsort(dim=1)
    return [{"input_ids": torch.where(places < masked, 64, tokens)} for masked in (40, 30, 20, 10)]


def calls(
    shape: tuple[int, ...], trajectories: int = 8, seed: int = 1, times: tuple[float, ...] = TIMES
) -> list[dict[str, Any]]:
    """Arguments of calls, one per timestep, with `trajectories` in the batch."""
    generator = torch.Generator().manual_seed(seed)
    return [
        {"x": torch.randn((trajectories, *shape), generator=generator), "timestep": time}
        for time in times
    ]


def save(net: torch.nn.Module, folder: Path) -> Path:
    """Write a model's folder."""
    folder.mkdir()
    tensors = {name: ("F32", p.detach().numpy()) for name, p in net.named_parameters()}
    write_safetensors(folder / "model.safetensors", tensors)
    return folder


def quantized(folder: Path, output: Path, **options: Any) -> Path:
    """Quantize it: to two bits by rounding, unless told otherwise."""
    chosen = {"bit_width": 2, "group_size": 64, "method": "rtn", "min_accuracy": 0.0} | options
    ArrowQuantV2().quantize_diffusion_model(folder, output, DiffusionQuantConfig(**chosen))
    return output


def error_of(net: Any, other: Any, given: list[dict[str, Any]]) -> float:
    """Mean over calls of the relative square error of the first output."""
    errors = []
    with torch.no_grad():
        for kwargs in given:
            exact, found = (first(model(**kwargs)) for model in (net, other))
            errors.append(float(((found - exact) ** 2).sum() / (exact**2).sum()))
    return sum(errors) / len(errors)


def first(output: Any) -> torch.Tensor:
    """Return the only tensor of an output."""
    (tensor,) = output.values() if isinstance(output, dict) else output
    return tensor
