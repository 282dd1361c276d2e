"""The command line's streams and signals: progress, readers that go away, Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from program import PROGRAM, run
from tiny import Tensor, write_safetensors, write_sparse_model


def test_progress_elsewhere_than_on_a_terminal_is_few_plain_lines(
    tiny_model: Path, tmp_path: Path
) -> None:
    done = run("quantize", tiny_model, tmp_path / "out")
    lines = done.stderr.splitlines()
    assert lines[0].startswith("0%")
    assert any(line.startswith("100%") for line in lines)
    # A run of well under five seconds: the start, the end, and perhaps a warning.
    assert len(lines) <= 4
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stderr


def read_terminal(terminal: int) -> str:
    """Everything shown until the last program that has it open is gone."""
    shown = b""
    try:
        while piece := os.read(terminal, 1 << 16):
            shown += piece
    except OSError:  # how Linux tells that the other side is closed
        pass
    os.close(terminal)
    return shown.decode()


def test_progress_on_a_terminal_is_a_bar_that_is_removed(tiny_model: Path, tmp_path: Path) -> None:
    terminal, stream = pty.openpty()
    with (tmp_path / "stdout").open("w") as stdout:
        process = subprocess.Popen(
            [PROGRAM, "quantize", tiny_model, tmp_path / "out", "--json"],
            stdout=stdout,
            stderr=stream,
            env={**os.environ, "TERM": "xterm"},
        )
    os.close(stream)
    shown = read_terminal(terminal)
    assert process.wait(timeout=120) == 0
    assert "\r[" in shown
    assert "] 100%" in shown
    assert "\r\x1b[K" in shown
    json.loads((tmp_path / "stdout").read_text())


def test_a_reader_that_goes_away_is_no_failure(tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    # More rows than a pipe holds.
    zeros: Tensor = ("F32", np.zeros(4, np.float32))
    write_safetensors(model, {f"blocks.{i}.norm.weight": zeros for i in range(5000)})
    for flags in ([], ["--json"]):
        with subprocess.Popen(
            [PROGRAM, "inspect", model, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            process.stdout.read(10)
            process.stdout.close()
            assert process.wait(timeout=120) == 0


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_full_disk_under_standard_output_is_a_failure_told_once(
    tiny_model: Path, flags: list[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [PROGRAM, "inspect", tiny_model, *flags],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count("standard output") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_run_that_can_be_taken_up(number: signal.Signals, tmp_path: Path) -> None:
    """512 MiB of zeros: enough to be caught at work."""
    model, output = tmp_path / "model.safetensors", tmp_path / "out"
    write_sparse_model(model, num_tensors=32, rows=1024, cols=4096)
    process = subprocess.Popen(
        [PROGRAM, "quantize", model, output, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("0%")
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "takes the run up again" in stderr
    assert json.loads(stdout)["error"]["code"] == "Cancelled"
    assert not (output / "manifest.json").exists()
    done = run("quantize", model, output, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["num_quantized"] == 32
