"""arrow-quant calibrate, and python -m arrow_quant_v2.calibration that it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arrow_quant_v2 import ConfigurationError
from arrow_quant_v2.calibration import load_inputs, masked_inputs, read
from arrow_quant_v2.calibration.__main__ import main
from arrow_quant_v2.calibration.prompts import read_prompts
from program import PROGRAM

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits_dit" / "model"

SHORT = ["--steps", "2", "--samples", "5", "--no-hessian"]


def run(*arguments: object, **options: Any) -> Any:
    words = [str(argument) for argument in arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False, **options)


def calibrate(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "calibration.parquet"


@pytest.fixture
def text_model(tmp_path: Path) -> Path:
    """A transformers folder with a small masked language model and a tokenizer of letters."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path / "bert"
    letters = {chr(97 + i): i for i in range(26)} | {"[MASK]": 26, "[UNK]": 27, "[PAD]": 28}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, mask_token="[MASK]", unk_token="[UNK]", pad_token="[PAD]"
    ).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=29,
        hidden_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=256,
    )
    transformers.BertForMaskedLM(config).save_pretrained(folder)
    return folder


def test_the_program_collects_a_pipeline(out: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("4\n7\n")
    done = run(PROGRAM, "calibrate", DIGITS, "--out", out, *SHORT, "--prompts", prompts, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["num_trajectories"], result["num_steps"]) == (5, 2)
    assert "sampling trajectories 1 to 5" in done.stderr
    labels = {label for call in load_inputs(out) for label in call["class_labels"].tolist()}
    assert labels == {4, 7, 10}
    assert read(out).metadata["component"] == "transformer"


def test_without_the_package_the_program_says_the_remedy(out: Path, tmp_path: Path) -> None:
    """An interpreter of its own, which sees no packages, lies beside a copy of the program."""
    program = tmp_path / "arrow-quant"
    program.write_bytes(PROGRAM.read_bytes())
    program.chmod(0o755)
    (tmp_path / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    (tmp_path / "python3").chmod(0o755)
    libraries = run("ldd", PROGRAM).stdout.split()
    path = ":".join(str(Path(w).parent) for w in libraries if w.startswith("/"))
    environment = {**os.environ, "LD_LIBRARY_PATH": path}
    environment.pop("PYTHONPATH", None)
    done = run(program, "calibrate", DIGITS, "--out", out, "--json", env=environment)
    assert done.returncode == 1
    message = json.loads(done.stdout)["error"]["message"]
    assert "-m pip install 'arrow-quant-v2[torch]'" in message
    assert message in done.stderr


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_wrong_usage_is_exit_code_2(out: Path, flags: list[str]) -> None:
    done = run(PROGRAM, "calibrate", DIGITS, "--out", out, "--samples", "0", *flags)
    assert done.returncode == 2
    assert "samples = 0" in done.stderr
    assert bool(done.stdout) == bool(flags)
    assert run(PROGRAM, "calibrate", DIGITS).returncode == 2


def test_the_summary_is_short_and_quiet_is_quiet(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(DIGITS, "--out", out, *SHORT) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"{out}: ")
    assert "2 steps, 5 trajectories, 2 calls" in told[1]
    assert told[2] == "  log-SNR: DDIMScheduler"
    assert calibrate(DIGITS, "--out", out, *SHORT, "--quiet") == 0
    assert capsys.readouterr().out == ""


def test_a_text_model_is_collected_with_masks(text_model: Path, out: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps(["abcdefgh" * 40, "zyxw" * 50]))
    arguments = [text_model, "--out", out, "--samples", "24", "--prompts", texts, "--quiet"]
    assert calibrate(*arguments) == 0
    data = read(out)
    axis = data.metadata["time_axis"]
    assert axis["kind"] == "masked_fraction"
    assert all(0 <= s["timestep"] <= 0.75 for s in axis["steps"])
    layer = data["bert.encoder.layer.0.attention.self.query.weight"]
    assert sum(step.n_rows for step in layer.steps.values()) == 18 * 128
    assert layer.steps[0].row_masked.any()


FAILURES: dict[str, tuple[list[object], int, str, str]] = {
    "no folder": (["nowhere"], 1, "ModelNotFound", "neither a model_index.json nor"),
    "a component": ([DIGITS / "transformer"], 2, "Configuration", "without its pipeline"),
    "no flag": (["x", "--stepz", "3"], 2, "Configuration", "unrecognized arguments: --stepz"),
    "no number": (["x", "--steps", "a"], 2, "Configuration", "invalid int value: 'a'"),
    "no prompts": ([DIGITS, "--prompts", "nowhere.txt"], 2, "Configuration", "cannot be read"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_is_one_error_object(
    case: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, exit_code, code, words = FAILURES[case]
    assert calibrate(*arguments, "--out", out, "--json") == exit_code
    told = capsys.readouterr()
    error = json.loads(told.out)["error"]
    assert error["code"] == code
    assert words in error["message"]
    assert "arrow-quant: " in told.err
    assert not out.exists()


def test_a_text_model_needs_texts(text_model: Path, out: Path) -> None:
    assert calibrate(text_model, "--out", out) == 2


def test_ctrl_c_is_said_to_be_resumable(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from arrow_quant_v2.calibration import __main__ as program

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "collect_from_folder", stopped)
    assert calibrate(DIGITS, "--out", out) == 130
    assert "takes the collection up again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "a cat\n\n  a dog \n"),
        ("p.json", '["a cat", {"prompt": "a dog"}]'),
        ("p.jsonl", '{"text": "a cat"}\n"a dog"\n'),
        ("p.yaml", "- a cat\n- caption: a dog\n"),
    ],
)
def test_prompts_come_from_files_of_several_kinds(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_prompts(tmp_path / name) == ["a cat", "a dog"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.txt", "\n", "holds none"),
        ("p.json", "{", "is no JSON"),
        ("p.json", '{"a": 1}', "not a list"),
        ("p.json", "[null]", "neither a text nor"),
        ("p.yaml", "a: [", "is no YAML"),
    ],
)
def test_a_file_without_prompts_is_an_error(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        read_prompts(tmp_path / name)


def test_texts_are_masked_at_all_levels_behind_a_visible_beginning() -> None:
    tokens = np.arange(3 * 400).reshape(3, 400)
    calls = list(masked_inputs(tokens, -1, samples=20, batch=8, extra={"labels": None}))
    assert all(call["labels"] is None for call in calls)
    assert [len(call["input_ids"]) for call in calls] == [8, 8, 4]
    ids = torch.cat([call["input_ids"] for call in calls]).numpy()
    masked = ids == -1
    assert not masked[:, :100].any()
    assert (ids == np.where(masked, -1, tokens[np.arange(20) % 3])).all()
    fractions = np.sort(masked[:, 100:].mean(axis=1))
    np.testing.assert_allclose(fractions, (np.arange(20) + 0.5) / 20, atol=0.12)


@pytest.mark.parametrize(("tokens", "visible"), [(np.zeros((0, 5)), 0.2), (np.ones((2, 4)), 1.0)])
def test_texts_that_cannot_be_masked_are_an_error(tokens: Any, visible: float) -> None:
    with pytest.raises(ConfigurationError):
        next(masked_inputs(tokens, -1, visible=visible))
