"""The command line as installed: what its commands do and say, with exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import arrow_quant_v2
from program import layers_of, run
from tiny import QUANTIZED, negated, tiny_tensors, write_safetensors

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


@pytest.fixture
def quantized(tiny_model: Path, tmp_path: Path) -> Path:
    done = run("quantize", tiny_model, tmp_path / "int4", "--bits", "4", "--quiet")
    assert done.returncode == 0, done.stderr
    return tmp_path / "int4"


def test_quantize_writes_a_model_and_sums_it_up(tiny_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = run("quantize", tiny_model, output, "--bits", "4")
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


def test_json_is_one_object_with_the_keys_of_the_python_result(
    tiny_model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    done = run("quantize", tiny_model, output, "--bits", "8", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result.keys() >= RESULT_KEYS
    assert result["bit_width"] == 8
    assert result["quantized_path"] == str(output)
    assert sorted(n for n, x in layers_of(done).items() if x["quant_type"] == "int8") == QUANTIZED


def test_quiet_says_nothing_of_a_success(tiny_model: Path, tmp_path: Path) -> None:
    done = run("quantize", tiny_model, tmp_path / "out", "--quiet", "--modality", "image")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_flags_win_over_the_file_the_file_over_the_environment_and_that_over_the_profile(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "options.yaml"
    config.write_text("deployment_profile: edge\nbits: 8\nmodules_to_not_convert: [fc1]\n")

    def plan(*flags: str) -> tuple[str, int, str]:
        done = run("inspect", tiny_model, "--json", *flags)
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


def test_validate_passes_what_quantize_made(tiny_model: Path, quantized: Path) -> None:
    done = run("validate", tiny_model, quantized)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Passed: ")
    done = run("validate", tiny_model, quantized, "--json")
    result = json.loads(done.stdout)
    assert result.keys() >= VALIDATION_KEYS
    assert result["passed"] is True
    assert sorted(result["per_layer_accuracy"]) == QUANTIZED


def test_validate_against_another_model_is_below_the_threshold(
    quantized: Path, tmp_path: Path
) -> None:
    other = tmp_path / "negated.safetensors"
    write_safetensors(other, negated(tiny_tensors()))
    done = run("validate", other, quantized)
    assert done.returncode == 3
    assert done.stdout.startswith("Not passed: ")
    done = run("validate", other, quantized, "--json")
    assert done.returncode == 3
    result = json.loads(done.stdout)
    assert result["passed"] is False
    assert result["worst_cosine_similarity"] < 0


def test_fail_fast_below_the_threshold_writes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    flags = ["--bits", "2", "--min-accuracy", "0.9999", "--fail-fast"]
    done = run("quantize", tiny_model, output, *flags, "--json")
    assert done.returncode == 3
    error = json.loads(done.stdout)["error"]
    assert error["code"] == "QualityBelowThreshold"
    assert "0.9999" in error["message"]
    assert any(name in error["message"] for name in QUANTIZED)
    assert not output.exists()


def test_inspect_shows_the_plan_and_the_outcome(tiny_model: Path, quantized: Path) -> None:
    plan = run("inspect", tiny_model)
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
    model = tmp_path / "model.safetensors"
    write_safetensors(model, {"a\x1b[2Jb.norm.weight": ("F32", np.ones(4, np.float32))})
    done = run("inspect", model)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "a?[2Jb.norm.weight" in done.stdout


@pytest.mark.parametrize("command", [[], ["quantize"], ["validate"], ["inspect"], ["calibrate"]])
def test_help_has_examples(command: list[str]) -> None:
    done = run(*command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Examples:\n  arrow-quant " in done.stdout


def test_version_is_that_of_the_package() -> None:
    done = run("--version")
    expected = f"arrow-quant {arrow_quant_v2.__version__}\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
