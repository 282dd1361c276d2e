"""quality="high" over several parts: their size, and runs that are killed between them."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from arrow_quant_v2 import ArrowQuantV2, DiffusionQuantConfig
from arrow_quant_v2.calibration import collect
from refine_nets import save

PROGRAM = Path(sys.executable).with_name("arrow-quant")
COLS, ROWS, LAYERS = 512, 1024, 12
RANK = ROWS * COLS // (48 * (ROWS + COLS))
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


def digest(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


@pytest.mark.parametrize("extras", [{}, {"activation_bits": 8}], ids=str)
def test_low_ranks_and_input_scales_fit_into_the_size_of_a_part(
    extras: dict[str, Any], model: Path, tmp_path: Path
) -> None:
    tensors_of: dict[str, list[int]] = {}
    for quality in ("standard", "high"):
        config = DiffusionQuantConfig(
            bit_width=2,
            group_size=64,
            min_accuracy=0.0,
            compensation="off",
            max_part_size_mb=1,
            quality=quality,
            **extras,
        )
        out = tmp_path / quality
        result = ArrowQuantV2().quantize_diffusion_model(model, out, config)
        ranks = {(layer["extras"] or {"rank": 0})["rank"] for layer in result["layers"]}
        assert ranks == ({RANK} if quality == "high" else {0})
        sizes = [path.stat().st_size for path in sorted(out.glob("*.parquet"))]
        assert max(sizes) <= MIB
        tensors_of[quality] = sizes
    # Six layers fit into a part, or five with their low ranks: so many bytes make the difference.
    assert [len(sizes) for sizes in tensors_of.values()] == [2, 3]


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
    assert digest(output) == digest(expected)
