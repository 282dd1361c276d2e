"""What the command line refuses, and how it fails: exit codes and one error object."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from program import layers_of, run
from tiny import write_safetensors

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
def test_wrong_usage_is_exit_code_2(case: str, tiny_model: Path, tmp_path: Path) -> None:
    arguments, message = WRONG_USAGE[case]
    (tmp_path / "key.yaml").write_text("bits: 4\ngroup_sise: 64\n")
    (tmp_path / "value.yaml").write_text("bits: 5\n")
    words = [str(tiny_model) if argument == "MODEL" else argument for argument in arguments]
    done = run(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    done = run("--json", *words, cwd=tmp_path) if not words else run(*words, "--json", cwd=tmp_path)
    assert done.returncode == 2
    if case != "flag without value":  # which takes "--json" for its value
        assert message in json.loads(done.stdout)["error"]["message"]
    assert not (tmp_path / "OUT").exists()


def as_it_is(tmp_path: Path) -> None:
    """Change nothing."""


def foreign_output(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")


def cut_file(tmp_path: Path) -> None:
    path = tmp_path / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def not_finite(tmp_path: Path) -> None:
    weights = np.zeros((128, 128), np.float32)
    weights[1, 2] = np.nan
    tensors = {"a.weight": ("F32", weights)}
    write_safetensors(tmp_path / "model" / "model.safetensors", tensors)


QUANTIZE = ["quantize", "model", "out"]
LONG = "x" * 300  # longer than a name may be
FAILURES: dict[str, tuple[list[str], Callable[[Path], None], str]] = {
    "no source": (["quantize", "nowhere", "out"], as_it_is, "ModelNotFound"),
    "source without a name": (["quantize", "", "out"], as_it_is, "ModelNotFound"),
    "nothing to validate": (["validate", "model", "nowhere"], as_it_is, "ModelNotFound"),
    "nothing to inspect": (["inspect", "nowhere"], as_it_is, "ModelNotFound"),
    "a long name to inspect": (["inspect", LONG], as_it_is, "Io"),
    "a long name to validate": (["validate", "model", LONG], as_it_is, "Io"),
    "a long name to write": (["quantize", "model", LONG], as_it_is, "Io"),
    "another's output": (QUANTIZE, foreign_output, "OutputExists"),
    "a file cut off": (QUANTIZE, cut_file, "InvalidModel"),
    "a weight that is not finite": (QUANTIZE, not_finite, "NonFinite"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failures_are_exit_code_1_with_one_error_object(
    case: str, tiny_model: Path, tmp_path: Path
) -> None:
    arguments, prepare, code = FAILURES[case]
    prepare(tmp_path)
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "arrow-quant: " in done.stderr
    done = run(*arguments, "--json", cwd=tmp_path)
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert list(answer) == ["error"]
    assert answer["error"]["code"] == code
    assert answer["error"]["message"] in done.stderr


def test_on_nonfinite_keep_keeps_the_tensor(tiny_model: Path, tmp_path: Path) -> None:
    not_finite(tmp_path)
    done = run(*QUANTIZE, "--on-nonfinite", "keep", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert layers_of(done)["a.weight"]["quant_type"] == "none"
