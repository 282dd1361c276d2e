"""Which layers have a say in how timesteps are grouped, and which of their inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from arrow_quant_v2 import ArrowQuantV2, DiffusionQuantConfig, load_quantized
from arrow_quant_v2.calibration import collect
from refine_nets import save

WIDTH = 128
STEPS = tuple(float(t) for t in range(950, 0, -100))
# Where the inputs of a layer become ten times smaller: above this timestep they are large.
EARLY, LATE = 600.0, 400.0


class Net(torch.nn.Module):  # type: ignore[misc]
    """Layers side by side, each with inputs of its own."""

    def __init__(self, turns: dict[str, float]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.turns = turns
        self.blocks = torch.nn.ModuleList(
            [torch.nn.ModuleDict({name: torch.nn.Linear(WIDTH, 128, bias=False) for name in turns})]
        )

    def forward(self, x: Any, timestep: float) -> Any:
        return sum(
            self.blocks[0][name](x[:, :, i] * (10 if timestep > turn else 1))
            for i, (name, turn) in enumerate(self.turns.items())
        )


def boundaries(turns: dict[str, float], folder: Path) -> tuple[list[float], set[str]]:
    """Return where two groups meet, and the names of the layers whose inputs are quantized."""
    folder.mkdir()
    net = Net(turns).eval()
    model = save(net, folder / "model")
    generator = torch.Generator().manual_seed(1)
    calls = [
        {"x": torch.randn(8, 8, len(turns), WIDTH, generator=generator), "timestep": t}
        for t in STEPS
    ]
    collect(net, calls, out=model / "calibration.parquet", keep_inputs=False)
    config = DiffusionQuantConfig(
        bit_width=8,
        activation_bits=8,
        activation_mode="static",
        num_time_groups=2,
        enable_spatial=False,
        min_accuracy=0.0,
    )
    ArrowQuantV2().quantize_diffusion_model(model, folder / "out", config)
    with load_quantized(folder / "out") as quantized:
        concerned = {name for name, tensor in quantized.items() if tensor.activation is not None}
        groups = quantized.time_groups()
    return list(groups.boundaries_timestep), {name.split(".")[2] for name in concerned}


def test_layers_without_quantized_inputs_have_no_say(tmp_path: Path) -> None:
    alone, _ = boundaries({"to_q": EARLY}, tmp_path / "alone")
    assert alone == [EARLY]
    # Two others for which it should be elsewhere: as layers like the first they outvote it.
    others = {"to_q": EARLY, "to_k": LATE, "to_v": LATE}
    outvoted, concerned = boundaries(others, tmp_path / "outvoted")
    assert concerned == set(others)
    assert outvoted == [LATE]
    # As shortcuts and projections of the time, whose inputs stay as they are, they do not.
    silent = {"to_q": EARLY, "conv_shortcut": LATE, "time_emb_proj": LATE}
    found, concerned = boundaries(silent, tmp_path / "silent")
    assert concerned == {"to_q"}
    assert found == alone


class OutlierFirst(torch.nn.Module):  # type: ignore[misc]
    """A layer whose inputs are as large at all times, but most of it lies in one channel at first.

    A rotation spreads it, so that nothing is left that depends on the time.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        block = torch.nn.ModuleDict({"to_q": torch.nn.Linear(WIDTH, 128)})
        self.blocks = torch.nn.ModuleList([block])

    def forward(self, x: Any, timestep: float) -> Any:
        if timestep > EARLY:
            sizes = torch.full((WIDTH,), 0.1)
            sizes[0] = (WIDTH - 0.01 * (WIDTH - 1)) ** 0.5
            x = x * sizes
        return self.blocks[0]["to_q"](x)


def test_static_ranges_are_grouped_by_inputs_as_they_are_quantized(tmp_path: Path) -> None:
    net = OutlierFirst().eval()
    model = save(net, tmp_path / "model")
    generator = torch.Generator().manual_seed(1)
    calls = [{"x": torch.randn(8, 8, WIDTH, generator=generator), "timestep": t} for t in STEPS]
    collect(net, calls, out=model / "calibration.parquet", keep_inputs=False)
    groups = {}
    for rotation in ("off", "auto"):
        config = DiffusionQuantConfig(
            activation_bits=4, activation_mode="static", rotation=rotation, min_accuracy=0.0
        )
        out = tmp_path / rotation
        result = ArrowQuantV2().quantize_diffusion_model(model, out, config)
        rotated = "hadamard" in result["layers"][0]["method"]
        assert rotated == (rotation == "auto")
        with load_quantized(out) as quantized:
            found = quantized.time_groups()
            groups[rotation] = len(found.boundaries_timestep) + 1 if found else 1
    assert groups == {"off": 2, "auto": 1}
