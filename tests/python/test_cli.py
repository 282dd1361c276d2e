"""The command line as installed: exit codes, and what goes to which stream."""

from __future__ import annotations

import json
import os
import pty
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

PROGRAM = Path(sys.executable).parent / "arrow-quant"

QUANTIZED = [
    "blocks.0.attn.to_q.weight",
    "blocks.0.mlp.fc1.weight",
    "blocks.1.mlp.fc1.weight",
]

RESULT_KEYS = {
    "quantized_path",
    "compression_ratio",
    "cosine_similarity",
    "model_size_mb",
    "modality",
    "bit_width",
    "quantization_time_s",
}
VALIDATION_KEYS = {
    "cosine_similarity",
    "compression_ratio",
    "model_size_mb",
    "per_layer_accuracy",
    "passed",
}

Completed = subprocess.CompletedProcess[str]


def run(*arguments: str | Path, **options: Any) -> Completed:
    assert PROGRAM.exists(), f"{PROGRAM} is not installed: run 'make test'"
    return subprocess.run(
        [PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def write_model(directory: Path, sign: float = 1.0, name: str = "blocks.0.norm.weight") -> Path:
    """A transformers directory: three weights to quantize, and some tensors to keep."""
    rng = np.random.default_rng(5)

    def weight(*shape: int) -> NDArray[np.float32]:
        return (sign * rng.normal(0, 0.02, shape)).astype(np.float32)

    directory.mkdir()
    tensors = {
        name: weight(128),
        "blocks.0.attn.to_q.weight": weight(128, 128),
        "blocks.0.mlp.fc1.weight": weight(256, 128),
        "blocks.0.mlp.fc1.bias": weight(256),
        "blocks.1.mlp.fc1.weight": weight(96, 200),
    }
    save_file(tensors, directory / "model.safetensors")
    (directory / "config.json").write_text('{"_class_name": "DiTTransformer2DModel"}')
    return directory


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture
def quantized(model: Path, tmp_path: Path) -> Path:
    done = run("quantize", model, tmp_path / "int4", "--bits", "4", "--quiet")
    assert done.returncode == 0, done.stderr
    return tmp_path / "int4"


def layers_of(done: Completed) -> dict[str, dict[str, Any]]:
    return {layer["name"]: layer for layer in json.loads(done.stdout)["layers"]}


def test_quantize_writes_a_model_and_sums_it_up(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = run("quantize", model, output, "--bits", "4")
    assert done.returncode == 0, done.stderr
    assert (output / "manifest.json").is_file()
    labels = [line.strip().split("  ")[0] for line in done.stdout.splitlines()[1:]]
    wanted = [
        "compression",
        "bits per weight",
        "cosine",
        "SQNR",
        "tensors",
        "kept",
        "time",
    ]
    assert [label for label in labels if label in wanted] == wanted
    assert str(output) in done.stdout


def test_progress_elsewhere_than_on_a_terminal_is_few_plain_lines(
    model: Path, tmp_path: Path
) -> None:
    done = run("quantize", model, tmp_path / "out")
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


def test_progress_on_a_terminal_is_a_bar_that_is_removed(model: Path, tmp_path: Path) -> None:
    terminal, stream = pty.openpty()
    with (tmp_path / "stdout").open("w") as stdout:
        process = subprocess.Popen(
            [PROGRAM, "quantize", model, tmp_path / "out", "--json"],
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


def test_json_is_one_object_with_the_keys_of_the_python_result(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = run("quantize", model, output, "--bits", "8", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result.keys() >= RESULT_KEYS
    assert result["bit_width"] == 8
    assert result["quantized_path"] == str(output)
    assert sorted(n for n, x in layers_of(done).items() if x["quant_type"] == "int8") == QUANTIZED


def test_quiet_says_nothing_of_a_success(model: Path, tmp_path: Path) -> None:
    done = run("quantize", model, tmp_path / "out", "--quiet", "--modality", "image")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_flags_win_over_the_file_the_file_over_the_environment_and_that_over_the_profile(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "options.yaml"
    config.write_text("deployment_profile: edge\nbits: 8\nmodules_to_not_convert: [fc1]\n")

    def plan(*flags: str) -> tuple[str, int, str]:
        done = run("inspect", model, "--json", *flags)
        assert done.returncode == 0, done.stderr
        layers = layers_of(done)
        to_q = layers["blocks.0.attn.to_q.weight"]
        fc1 = layers["blocks.0.mlp.fc1.weight"]
        return to_q["quant_type"], to_q["group_size"], fc1["quant_type"]

    assert plan() == ("int4", 128, "int4")
    assert plan("--profile", "edge") == ("int2", 256, "int2")
    assert plan("--config", str(config)) == ("int8", 256, "none")
    assert plan("--config", str(config), "--bits", "2") == ("int2", 256, "none")
    assert plan("--config", str(config), "--profile", "cloud") == ("int8", 64, "none")
    assert plan("--config", str(config), "--keep", "to_q") == ("none", 0, "int8")
    assert plan("--keep", "to_q", "--keep", "fc1") == ("none", 0, "none")
    monkeypatch.setenv("ARROW_QUANT_GROUP_SIZE", "32")
    monkeypatch.setenv("ARROW_QUANT_BITS", "2")
    assert plan() == ("int2", 32, "int2")
    assert plan("--config", str(config)) == ("int8", 32, "none")
    assert plan("--profile", "cloud", "--bits", "4") == ("int4", 32, "int4")


def test_validate_passes_what_quantize_made(model: Path, quantized: Path) -> None:
    done = run("validate", model, quantized)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Passed: ")
    done = run("validate", model, quantized, "--json")
    result = json.loads(done.stdout)
    assert result.keys() >= VALIDATION_KEYS
    assert result["passed"] is True
    assert sorted(result["per_layer_accuracy"]) == QUANTIZED


def test_validate_against_another_model_is_below_the_threshold(
    quantized: Path, tmp_path: Path
) -> None:
    other = write_model(tmp_path / "negated", sign=-1.0)
    done = run("validate", other, quantized)
    assert done.returncode == 3
    assert done.stdout.startswith("Not passed: ")
    done = run("validate", other, quantized, "--json")
    assert done.returncode == 3
    result = json.loads(done.stdout)
    assert result["passed"] is False
    assert result["worst_cosine_similarity"] < 0


def test_fail_fast_below_the_threshold_writes_nothing(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    flags = ["--bits", "2", "--min-accuracy", "0.9999", "--fail-fast"]
    done = run("quantize", model, output, *flags, "--json")
    assert done.returncode == 3
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "QualityBelowThreshold"
    assert "0.9999" in error["message"]
    assert any(name in error["message"] for name in QUANTIZED)
    assert not output.exists()


def test_inspect_shows_the_plan_and_the_outcome(model: Path, quantized: Path) -> None:
    plan = run("inspect", model)
    outcome = run("inspect", quantized)
    assert (plan.returncode, outcome.returncode) == (0, 0)
    for name in QUANTIZED:
        for done in (plan, outcome):
            row = next(line for line in done.stdout.splitlines() if line.startswith(name))
            assert "int4" in row
            assert "128" in row
    row = next(x for x in outcome.stdout.splitlines() if x.startswith("blocks.0.norm.weight"))
    assert "kept" in row
    assert "norm" in row.removeprefix("blocks.0.norm.weight")
    assert "not quantized yet" in plan.stdout
    cosines = [
        layers_of(run("inspect", quantized, "--json"))[n]["cosine_similarity"] for n in QUANTIZED
    ]
    assert min(cosines) > 0.99


def test_names_in_files_cannot_steer_a_terminal(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", name="a\x1b[2Jb.norm.weight")
    done = run("inspect", model)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "a?[2Jb.norm.weight" in done.stdout


WRONG_USAGE = {
    "no command": ([], "subcommand is required"),
    "unknown command": (["quantise", "MODEL", "OUT"], "did you mean quantize?"),
    "unknown flag": (
        ["quantize", "MODEL", "OUT", "--bit", "4"],
        "did you mean --bits?",
    ),
    "missing output": (["quantize", "MODEL"], "output is required"),
    "empty output": (["quantize", "MODEL", ""], "the output's name is empty"),
    "too many paths": (
        ["quantize", "MODEL", "OUT", "MORE"],
        "unexpected argument MORE",
    ),
    "flag without value": (["quantize", "MODEL", "OUT", "--bits"], "--bits"),
    "bits": (
        ["quantize", "MODEL", "OUT", "--bits", "3"],
        "bit_width = 3: allowed are 2, 4, 8",
    ),
    "bits in words": (
        ["quantize", "MODEL", "OUT", "--bits", "four"],
        'bit_width = "four"',
    ),
    "group size": (
        ["quantize", "MODEL", "OUT", "--group-size", "100"],
        "group_size = 100: allowed are 32, 64, 128, 256",
    ),
    "min accuracy": (
        ["quantize", "MODEL", "OUT", "--min-accuracy", "2"],
        "allowed is 0 … 1",
    ),
    "threads": (["quantize", "MODEL", "OUT", "--threads", "-1"], "num_threads = -1"),
    "profile": (
        ["quantize", "MODEL", "OUT", "--profile", "mobile"],
        "edge, local, cloud",
    ),
    "modality": (
        ["inspect", "MODEL", "--modality", "video"],
        "text, code, image, audio",
    ),
    "method": (["quantize", "MODEL", "OUT", "--method", "best"], "rtn, mse"),
    "pattern": (["quantize", "MODEL", "OUT", "--keep", "re:("], "re:("),
    "no config file": (["quantize", "MODEL", "OUT", "--config", "no.yaml"], "no.yaml"),
    "config is a directory": (
        ["quantize", "MODEL", "OUT", "--config", "."],
        "directory",
    ),
    "unknown key in config": (
        ["quantize", "MODEL", "OUT", "--config", "key.yaml"],
        'key.yaml:2: unknown option "group_sise": did you mean group_size?',
    ),
    "value in config": (
        ["quantize", "MODEL", "OUT", "--config", "value.yaml"],
        "value.yaml:1: bit_width = 5: allowed are 2, 4, 8",
    ),
    "flag of another command": (["inspect", "MODEL", "--overwrite"], "--overwrite"),
}


@pytest.mark.parametrize("case", WRONG_USAGE)
def test_wrong_usage_is_exit_code_2(case: str, model: Path, tmp_path: Path) -> None:
    arguments, message = WRONG_USAGE[case]
    (tmp_path / "key.yaml").write_text("bits: 4\ngroup_sise: 64\n")
    (tmp_path / "value.yaml").write_text("bits: 5\n")
    words = [str(model) if argument == "MODEL" else argument for argument in arguments]
    done = run(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    done = run("--json", *words, cwd=tmp_path) if not words else run(*words, "--json", cwd=tmp_path)
    assert done.returncode == 2
    if case != "flag without value":  # which takes "--json" for its value
        assert message in json.loads(done.stdout)["error"]["message"]
    assert not (tmp_path / "OUT").exists()


def no_model(tmp_path: Path) -> list[str]:
    return ["quantize", "nowhere", "out"]


def foreign_output(tmp_path: Path) -> list[str]:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    return ["quantize", "model", "out"]


def cut_file(tmp_path: Path) -> list[str]:
    path = tmp_path / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    return ["quantize", "model", "out"]


def not_finite(tmp_path: Path) -> list[str]:
    weights = np.zeros((128, 128), np.float32)
    weights[1, 2] = np.nan
    save_file({"a.weight": weights}, tmp_path / "model" / "model.safetensors")
    return ["quantize", "model", "out"]


def validate_nothing(tmp_path: Path) -> list[str]:
    return ["validate", "model", "nowhere"]


def inspect_nothing(tmp_path: Path) -> list[str]:
    return ["inspect", "nowhere"]


def no_name(tmp_path: Path) -> list[str]:
    return ["quantize", "", "out"]


def inspect_long_name(tmp_path: Path) -> list[str]:
    return ["inspect", "x" * 300]


def validate_long_name(tmp_path: Path) -> list[str]:
    return ["validate", "model", "x" * 300]


def write_long_name(tmp_path: Path) -> list[str]:
    return ["quantize", "model", "x" * 300]


FAILURES = [
    (no_name, "ModelNotFound"),
    (inspect_long_name, "Io"),
    (validate_long_name, "Io"),
    (write_long_name, "Io"),
    (no_model, "ModelNotFound"),
    (foreign_output, "OutputExists"),
    (cut_file, "InvalidModel"),
    (not_finite, "NonFinite"),
    (validate_nothing, "ModelNotFound"),
    (inspect_nothing, "ModelNotFound"),
]


@pytest.mark.parametrize(("prepare", "code"), FAILURES)
def test_failures_are_exit_code_1_with_one_error_object(
    prepare: Callable[[Path], list[str]], code: str, model: Path, tmp_path: Path
) -> None:
    arguments = prepare(tmp_path)
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "arrow-quant: " in done.stderr
    done = run(*arguments, "--json", cwd=tmp_path)
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert list(answer) == ["error"]
    assert answer["error"]["code"] == code
    assert answer["error"]["message"] in done.stderr


def test_on_nonfinite_keep_keeps_the_tensor(model: Path, tmp_path: Path) -> None:
    done = run(*not_finite(tmp_path), "--on-nonfinite", "keep", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert layers_of(done)["a.weight"]["quant_type"] == "none"


@pytest.mark.parametrize("command", [[], ["quantize"], ["validate"], ["inspect"], ["calibrate"]])
def test_help_has_examples(command: list[str]) -> None:
    done = run(*command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Examples:\n  arrow-quant " in done.stdout


def test_version_is_that_of_the_package() -> None:
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    name, version = done.stdout.split()
    assert name == "arrow-quant"
    assert version.split(".")[0] == "2"


def test_a_reader_that_goes_away_is_no_failure(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    # More rows than a pipe holds.
    tensors = {f"blocks.{i}.norm.weight": np.zeros(4, np.float32) for i in range(5000)}
    save_file(tensors, directory / "model.safetensors")
    for flags in ([], ["--json"]):
        with subprocess.Popen(
            [PROGRAM, "inspect", directory, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            process.stdout.read(10)
            process.stdout.close()
            assert process.wait(timeout=120) == 0


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_full_disk_under_standard_output_is_a_failure_told_once(
    model: Path, flags: list[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [PROGRAM, "inspect", model, *flags],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count("standard output") == 1


def write_long_model(directory: Path) -> Path:
    """512 MiB of zeros that take no space: enough to be caught at work."""
    directory.mkdir()
    rows, cols, count = 1024, 4096, 32
    size = rows * cols * 4
    header = {
        f"blocks.{i}.mlp.weight": {
            "dtype": "F32",
            "shape": [rows, cols],
            "data_offsets": [i * size, (i + 1) * size],
        }
        for i in range(count)
    }
    text = json.dumps(header).encode()
    with (directory / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + count * size)
    return directory


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_run_that_can_be_taken_up(number: signal.Signals, tmp_path: Path) -> None:
    model, output = write_long_model(tmp_path / "model"), tmp_path / "out"
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
