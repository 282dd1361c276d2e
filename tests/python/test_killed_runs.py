"""The program is killed at random moments; the same command then completes the same bytes."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from folders import digests
from program import PROGRAM

NUM_TENSORS = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 50 MB of weights, so that a run takes long enough to be met in the middle."""
    rng = np.random.default_rng(0)
    tensors = {
        f"blocks.{i}.fc.weight": rng.standard_normal((1024, 1024), dtype=np.float32)
        for i in range(NUM_TENSORS)
    }
    tensors["norm.weight"] = np.ones(64, dtype=np.float32)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_file(tensors, path)
    return path


Run = tuple[list[str], dict[str, str], float]


def command(bits: list[str], model: Path, output: Path) -> list[str]:
    options = [*bits, "--max-part-size-mb", "1", "--modality", "image", "--quiet"]
    return [str(PROGRAM), "quantize", str(model), str(output), *options]


@pytest.fixture(scope="module", params=[["--bits", "4"], ["--target-bpw", "3"]], ids=" ".join)
def undisturbed(
    model: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Run:
    """How bits are chosen, the files of a run that was left alone, and how long it took."""
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    begin = time.monotonic()
    subprocess.run(command(request.param, model, output), check=True)
    return request.param, digests(output), time.monotonic() - begin


@pytest.mark.parametrize("seed", range(6))
def test_a_run_killed_several_times_ends_with_the_bytes_of_an_undisturbed_one(
    model: Path, undisturbed: Run, tmp_path: Path, seed: int
) -> None:
    bits, expected, seconds = undisturbed
    output = tmp_path / "out"
    chance = random.Random(seed)
    for _ in range(4):
        process = subprocess.Popen(command(bits, model, output))
        time.sleep(chance.uniform(0, seconds))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (output / "manifest.json").exists():
            break  # it was quicker than the kill: then it must be whole
    subprocess.run(command(bits, model, output), check=True)
    assert digests(output) == expected


def test_an_interrupted_run_says_that_it_can_be_taken_up_again(
    model: Path, undisturbed: Run, tmp_path: Path
) -> None:
    bits, expected, _ = undisturbed
    output = tmp_path / "out"
    process = subprocess.Popen(command(bits, model, output), stderr=subprocess.PIPE, text=True)
    while not (output / ".arrow_quant-journal.json").exists():
        assert process.poll() is None, "the run ended before it could be interrupted"
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate()
    assert process.returncode == 130
    assert "again" in message
    assert not (output / "manifest.json").exists()
    subprocess.run(command(bits, model, output), check=True)
    assert digests(output) == expected
