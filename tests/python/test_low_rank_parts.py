"""Low ranks and input scales in several parts: their size, and runs that are killed meanwhile."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from arrow_quant_v2 import ArrowQuantV2, DiffusionQuantConfig
from arrow_quant_v2.calibration import collect
from folders import digests
from program import PROGRAM
from refine_nets import save

COLS, ROWS, LAYERS = 512, 1024, 12
RANK = ROWS * COLS // (48 * (ROWS + COLS))
WIDE = 3968  # inputs of two layers that fit into 1 MiB without input scales
STEPS = (900.0, 500.0, 100.0)
MIB = 1 << 20


class Net(torch.nn.Module):  # type: ignore[misc]
    """Layers with the same inputs, which are strong in few directions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(COLS, ROWS, bias=False)) for _ in range(LAYERS)
        )
        self.mix = torch.randn(COLS // 2, COLS) * torch.logspace(0, -3, COLS // 2)[:, None]

    def forward(self, sources: Any, timestep: float) -> Any:
        x = sources @ self.mix
        return sum(block(x) for block in self.blocks)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 25 MB of weights, with calibration data in their folder."""
    net = Net().eval()
    folder = save(net, tmp_path_factory.mktemp("net") / "model")
    calls = [{"sources": torch.randn(8, 32, COLS // 2), "timestep": t} for t in STEPS]
    collect(net, calls, out=folder / "calibration.parquet", keep_inputs=False)
    return folder


def sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in sorted(folder.glob("*.parquet"))]


def test_low_ranks_fit_into_the_size_of_a_part(model: Path, tmp_path: Path) -> None:
    sizes_of: dict[str, list[int]] = {}
    for quality in ("standard", "high"):
        config = DiffusionQuantConfig(
            bit_width=2,
            group_size=64,
            min_accuracy=0.0,
            compensation="off",
            max_part_size_mb=1,
            quality=quality,
        )
        out = tmp_path / quality
        result = ArrowQuantV2().quantize_diffusion_model(model, out, config)
        ranks = {(layer["extras"] or {"rank": 0})["rank"] for layer in result["layers"]}
        assert ranks == ({RANK} if quality == "high" else {0})
        sizes_of[quality] = sizes(out)
        assert max(sizes_of[quality]) <= MIB
    # Six layers fit into a part; with their low ranks they would not.
    assert [len(sizes) for sizes in sizes_of.values()] == [2, 3]
    assert sizes_of["standard"][0] + 6 * 2 * RANK * (ROWS + COLS) > MIB


class Outliers(torch.nn.Module):  # type: ignore[misc]
    """Layers with many inputs, a few of which are large: quantized, all gain by input scales."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.to_q = torch.nn.Linear(WIDE, 128, bias=False)
        self.to_k = torch.nn.Linear(WIDE, 128, bias=False)

    def forward(self, x: Any, timestep: float) -> Any:
        scale = torch.ones(WIDE)
        scale[:8] = 50
        return self.to_q(x * scale) + self.to_k(x * scale)


def test_input_scales_fit_into_the_size_of_a_part(tmp_path: Path) -> None:
    net = Outliers().eval()
    model = save(net, tmp_path / "model")
    calls = [{"x": torch.randn(8, 16, WIDE), "timestep": t} for t in STEPS]
    data = tmp_path / "calibration.parquet"
    collect(net, calls, out=data, keep_inputs=False, hessian=False)
    config = DiffusionQuantConfig(
        bit_width=8,
        min_accuracy=0.0,
        activation_bits=8,
        calibration_path=str(data),
        max_part_size_mb=1,
    )
    result = ArrowQuantV2().quantize_diffusion_model(model, tmp_path / "out", config)
    transforms = [layer["extras"]["transforms"] for layer in result["layers"]]
    assert transforms == [["input_scale"]] * 2
    assert max(sizes(tmp_path / "out")) <= MIB < sum(sizes(tmp_path / "out"))
    assert sum(layer["stored_bytes"] for layer in result["layers"]) - 2 * 4 * WIDE < MIB


def command(model: Path, output: Path) -> list[str]:
    options = ["--bits", "2", "--group-size", "64", "--min-accuracy", "0", "--quality", "high"]
    options += ["--max-part-size-mb", "1", "--modality", "image", "--quiet"]
    return [str(PROGRAM), "quantize", str(model), str(output), *options]


@pytest.fixture(scope="module")
def undisturbed(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """What a run makes that was left alone, and how long it took."""
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    begin = time.monotonic()
    subprocess.run(command(model, output), check=True)
    return output, time.monotonic() - begin


@pytest.mark.parametrize("seed", range(2))
def test_a_run_killed_in_each_part_ends_with_the_bytes_of_an_undisturbed_one(
    model: Path, undisturbed: tuple[Path, float], tmp_path: Path, seed: int
) -> None:
    expected, seconds = undisturbed
    parts = len(list(expected.glob("*.parquet")))
    assert parts > 2
    chance = random.Random(seed)
    output = tmp_path / "out"
    for finished in range(parts):
        process = subprocess.Popen(command(model, output))
        while len(list(output.glob("quantized-*.parquet"))) < finished:
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.001)
        time.sleep(chance.uniform(0, seconds / (parts + 1)))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(list(output.glob("quantized-*.parquet"))) >= finished
    subprocess.run(command(model, output), check=True)
    assert digests(output) == digests(expected)
