"""The evaluation of the example models: its harness, on a few trajectories, and its arithmetic."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arrow_quant_v2.errors import ConfigurationError
from examples.byte_mdlm import byte_mdlm, torch_model
from examples.evaluation import session as sessions
from examples.evaluation import text as texts
from examples.evaluation.digits import Digits
from examples.evaluation.findings import Effect, in_words
from examples.evaluation.ladder import DATA_FREE, Row, Setting, ladder, settings
from examples.evaluation.outcome import Outcome, evaluate
from examples.evaluation.plots import write_plots
from examples.evaluation.report import write_report
from examples.evaluation.session import Scale, Session, line
from examples.evaluation.subject import Measured, calibration_file
from examples.evaluation.targets import TARGETS, change_by_bits, gain
from examples.evaluation.text import Text

# diffusers decorates some models for CUDA as it is imported, and torch warns where there is none.
pytestmark = pytest.mark.filterwarnings("ignore:CUDA is not available:UserWarning")

W4 = Setting("W4A16 g128", {"bit_width": 4, "group_size": 128, "min_accuracy": 0.0})
PLAIN = Row("plain")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(scope="module")
def digits(work: Path) -> Digits:
    return Digits(work, trajectories=2, steps=3)


@pytest.fixture(scope="module")
def text(work: Path) -> Text:
    return Text(work, windows=4)


def test_the_language_model_in_torch_equals_that_in_numpy() -> None:
    tokens = np.frombuffer(byte_mdlm.HELD_OUT.read_bytes()[:256], np.uint8).astype(np.int64)
    tokens = np.where(np.arange(256) % 3 == 0, torch_model.MASK, tokens).reshape(4, 64)
    with torch.inference_mode():
        found = torch_model.load()(torch.from_numpy(tokens))[..., :256].numpy()
    expected = byte_mdlm.ByteMdlm.load().forward(tokens)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_a_full_precision_model_has_no_error(digits: Digits, text: Text) -> None:
    drawn = digits.measure(digits.original(), samples=True)
    assert (drawn.error, drawn.psnr_db) == (0.0, math.inf)
    read = text.measure(text.original(), samples=True)
    assert read.error == pytest.approx(0, abs=1e-9)
    assert read.excess_bits == pytest.approx(0, abs=1e-9)


def test_a_quantized_model_is_measured_by_sample_and_by_step(
    digits: Digits, text: Text, work: Path
) -> None:
    for subject, samples in ((digits, 2), (text, 4)):
        outcome = evaluate(subject, W4, PLAIN, work)
        found = outcome.measured
        assert 1e-5 < found.error < 0.1
        assert found.per_sample.shape == (samples,)
        assert found.per_sample.mean() == pytest.approx(found.error)
        assert found.per_step.shape == subject.steps.shape
        assert 4.1 < outcome.bits_per_weight < 6
        assert (found.psnr_db is None) == (subject is text)


def test_the_same_row_is_measured_the_same_again(digits: Digits, work: Path) -> None:
    first, again = (evaluate(digits, W4, PLAIN, work).measured for _ in range(2))
    assert first.error == again.error
    assert first.psnr_db == again.psnr_db


def test_equal_models_are_measured_once(work: Path) -> None:
    class Counting(Digits):
        times = 0

        def measure(self, model: Any, samples: bool) -> Measured:
            self.times += 1
            return super().measure(model, samples)

    digits = Counting(work, trajectories=2, steps=3)
    same = Row("same", {"num_time_groups": 3})  # there are none without calibration data
    rounded = Row("rounded", {"method": "rtn"})
    rows = (
        (PLAIN, False, 1),
        (same, False, 1),
        (same, True, 2),
        (PLAIN, False, 2),
        (rounded, True, 3),
    )
    found = []
    for row, samples, times in rows:
        found.append(evaluate(digits, W4, row, work, samples=samples).measured)
        assert digits.times == times
        assert (found[-1].psnr_db is not None) == samples
    assert len({measured.error for measured in found[:4]}) == 1
    assert found[4].error != found[0].error


def test_a_calibrated_row_takes_its_data_from_a_file_that_stays(digits: Digits, work: Path) -> None:
    row = Row("importance", {"compensation": "off"}, calibrated=True)
    outcome = evaluate(digits, W4, row, work, seed=3, trajectories=4, samples=False)
    file = calibration_file(digits, work, seed=3, trajectories=4)
    assert outcome.result["calibration"] == str(file)
    assert (outcome.seed, outcome.trajectories) == (3, 4)
    made = file.stat().st_mtime_ns
    assert calibration_file(digits, work, seed=3, trajectories=4).stat().st_mtime_ns == made


def test_a_row_with_the_model_lets_its_predictions_decide(digits: Digits, work: Path) -> None:
    w2 = Setting("W2A16 g64", {"bit_width": 2, "group_size": 64, "min_accuracy": 0.0})
    row = Row("row", {"compensation": "off"}, calibrated=True, model=True)
    found = evaluate(digits, w2, row, work, seed=3, trajectories=4, samples=False)
    assert found.result["model_gate"]
    assert 4 < found.bits_per_weight < 5


def test_a_row_with_an_option_that_does_not_exist_is_an_error(digits: Digits, work: Path) -> None:
    with pytest.raises(TypeError, match="no_such_option"):
        evaluate(digits, W4, Row("row", {"no_such_option": True}), work)


def test_a_row_whose_option_has_no_effect_is_an_error(digits: Digits, work: Path) -> None:
    row = Row("row", {"activation_mode": "static"})  # of activations that are not quantized
    with pytest.raises(ConfigurationError, match=r"W4A16 g128, row 'row': activation_mode had no"):
        evaluate(digits, W4, row, work)


def test_calibration_and_measuring_see_different_halves_of_the_text() -> None:
    first, second = texts.halves(bytes(range(256)) * 2)
    assert len(first) == len(second) == 2
    np.testing.assert_array_equal(np.concatenate([first, second]).reshape(-1), [*range(256)] * 2)


def test_texts_lose_their_masks_step_by_step() -> None:
    first, _ = texts.halves(byte_mdlm.HELD_OUT.read_bytes())
    calls = [call["tokens"].numpy() for call in texts.unmasking(first, seed=0, trajectories=8)]
    masked = [tokens == torch_model.MASK for tokens in calls]
    assert [m.sum(axis=1).tolist() for m in masked] == [
        [round(6.4 * k)] * 8 for k in range(20, 0, -1)
    ]
    for before, after in pairwise(masked):
        assert not (after & ~before).any()
    again = [call["tokens"].numpy() for call in texts.unmasking(first, seed=0, trajectories=8)]
    np.testing.assert_array_equal(again, calls)


def test_every_row_compares_itself_with_one_above_it() -> None:
    for setting in settings():
        names = [row.name for row in ladder(setting)]
        assert len(set(names)) == len(names)
        for i, row in enumerate(ladder(setting)):
            assert not row.against or row.against in names[:i]
            assert bool(row.against) == bool(row.feature)
    assert set(TARGETS) <= {setting.name for setting in settings()}


def test_inputs_are_clipped_in_the_rows_from_clipping_on() -> None:
    rows = ladder(next(s for s in settings() if s.name == "W4A4 g128"))
    clips = [row.options.get("enable_activation_clipping", True) for row in rows if row.calibrated]
    first = [row.name for row in rows if row.calibrated].index("clipping without rotation")
    assert clips == [False] * first + [True] * (len(clips) - first)


def outcome(row: str, error: float, bits: float, setting: str = W4.name, **more: Any) -> Outcome:
    spread = np.array([0.9, 1.1])
    measured = Measured(error, error * spread, error * spread)
    made = Outcome("model", setting, row, -1, 0, measured, bits, 0.1, {})
    return replace(made, **more)


def test_targets_compare_at_equal_bits_per_weight(digits: Digits, work: Path) -> None:
    session = Session([], [W4], Scale(), work, frozenset())
    without = outcome(DATA_FREE, 0.04, 4.25)
    session.outcomes = [
        without,
        outcome(DATA_FREE, 0.01, 4.5, "W4A16 g64"),
        *(outcome("default", 0.005, 4.375, seed=s, trajectories=32) for s in (0, 1, 2)),
    ]
    # Half way between two group sizes, the error without data is their geometric mean.
    assert change_by_bits(session, without, 4.375) == pytest.approx(0.5)
    assert change_by_bits(session, without, 9.0) == pytest.approx(0.25)
    assert change_by_bits(session, without, 4.25) == 1
    assert gain(session, session.outcomes[-1]) == pytest.approx(0.04 * 0.5 / 0.005)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([-0.5, -0.2], "**A feature**: helps in 2 of 2 (error -20% to -50%)."),
        ([-0.5, 0.3], "**A feature**: helps in 1 of 2 (error -50%), hurts in 1 of 2 (error +30%)."),
        ([0.001], "**A feature**: changes nothing that is certain in 1 of 1."),
    ],
)
def test_findings_are_put_into_words(changes: list[float], words: str) -> None:
    found = [Effect("a feature", "model", "setting", change, clear=True) for change in changes]
    assert in_words("a feature", found) == words


def test_a_change_within_the_noise_is_no_finding() -> None:
    assert Effect("a feature", "model", "setting", -0.5, clear=False).verdict == "nothing"


def test_the_page_has_every_row_and_the_plots_are_the_same_again(
    digits: Digits, text: Text, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter(range(1000))

    def made_up(subject: Any, setting: Setting, row: Row, *_: Any, **__: Any) -> Outcome:
        error = 0.1 / (1 + next(numbers))
        step = np.full(len(subject.steps), error)
        bits = setting.options["bit_width"] + 32 / setting.options["group_size"]
        data = (0, 32) if row.calibrated else (-1, 0)
        measured = Measured(error, np.array([error, error * 1.01]), step, psnr_db=20.0)
        return Outcome(subject.name, setting.name, row.name, *data, measured, bits, 0.1, {})

    monkeypatch.setattr(sessions, "evaluate", made_up)
    scale = Scale(seeds=(0,), other_trajectories=())
    chosen = [setting for setting in settings() if setting.name == "W2A16 g64"]
    session = Session([digits, text], chosen, scale, work, TARGETS)
    told: list[str] = []
    for subject in (digits, text):
        session.run(subject, told.append)
    assert line(session.outcomes[0]) in told
    write_report(session, tmp_path / "evaluation.md")
    page = (tmp_path / "evaluation.md").read_text(encoding="utf-8")
    for setting in chosen:
        for row in ladder(setting):
            assert row.name in page
            assert row.feature in page
    assert "reached" in page
    for folder in ("first", "second"):
        write_plots(session, tmp_path / folder)
    for name in ("by_step.svg", "ladder.svg"):
        plot = (tmp_path / "first" / name).read_bytes()
        assert plot == (tmp_path / "second" / name).read_bytes()
