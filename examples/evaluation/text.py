"""The byte language model as a subject: what it believes of masked bytes."""

# torch is nothing but Any where its types are left out.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from arrow_quant_v2.calibration import collect
from examples.byte_mdlm.byte_mdlm import HELD_OUT, LENGTH, MODEL
from examples.byte_mdlm.torch_model import MASK, ByteMdlm, load
from examples.evaluation.subject import Floats, Measured, reference_file, save_arrays

LEVELS = 20  # of masking in a calibration trajectory
BINS = 8  # of masked fractions, for errors by noise level
BATCH = 32
DRAWS_SEED = 9999


class Text:
    """Masked windows of held-out text: the first half calibrates, the second half is measured.

    Parameters
    ----------
    work : Path
        Where the full-precision predictions are kept.
    windows : int
        Held-out windows of 128 bytes for measuring, at most 187; each is masked twice.
    """

    name = "byte_mdlm"
    source = MODEL
    about = (
        'Windows of 128 bytes of held-out text, with masks at fixed places. "bits +" is what a\n  '
        "byte takes beyond the bits per byte of the full-precision model."
    )
    error_words = "KL divergence of masked bytes from the full-precision model, bits per byte"
    step_words = "masked fraction"
    draws = False

    def __init__(self, work: Path, windows: int = 187) -> None:
        calibrating, held_out = halves(HELD_OUT.read_bytes())
        self._calibrating = calibrating
        bytes_ = np.concatenate([held_out[:windows]] * 2)
        rng = np.random.default_rng(DRAWS_SEED)
        n = len(bytes_)
        # Stratified masked fractions, as bits_per_byte has them.
        counts = 1 + ((rng.permutation(n) + rng.random(n)) / n * LENGTH).astype(int)
        masked = ranks(rng, n) < counts[:, None]
        self._fractions = counts / LENGTH
        self.steps = 1 - (np.arange(BINS) + 0.5) / BINS
        self._bytes, self._masked = torch.from_numpy(bytes_), torch.from_numpy(masked)
        self._tokens = torch.where(self._masked, MASK, self._bytes)
        file = reference_file(self, work, f"predictions-{windows}")
        if not file.exists():
            self._trace(file)
        with np.load(file) as found:
            self._expected = torch.from_numpy(found["log_probabilities"])

    def original(self) -> Any:
        return load()

    def empty(self) -> Any:
        return ByteMdlm().eval()

    def calibrate(self, seed: int, trajectories: int, out: Path) -> None:
        calls = unmasking(self._calibrating, seed, trajectories)
        collect(self.original(), calls, out=out, seed=seed, mask_token_id=MASK, resume=False)

    def measure(self, model: Any, samples: bool) -> Measured:
        divergence, excess = (np.zeros(len(self._tokens)) for _ in range(2))
        done = 0  # masked bytes so far
        for i, found, masked in self._predict(model):
            expected = self._expected[done : done + len(found)].float()
            done += len(found)
            kl = (expected.exp() * (expected - found)).sum(1) / math.log(2)
            actual = self._bytes[i : i + BATCH][masked][:, None]
            lost = (expected - found).gather(1, actual)[:, 0] / math.log(2)
            divergence[i : i + BATCH] = _means(kl, masked)
            excess[i : i + BATCH] = _means(lost, masked)
        return Measured(
            float(divergence.mean()),
            divergence.reshape(2, -1).mean(0),  # both draws of a window are one sample
            self._by_fraction(divergence),
            excess_bits=float(excess.mean()),
        )

    def _by_fraction(self, errors: Floats) -> Floats:
        """Return the mean errors of equal parts of the masked fractions, the most masked first."""
        bins = np.minimum((self._fractions * BINS).astype(int), BINS - 1)
        return np.array([errors[bins == b].mean() for b in reversed(range(BINS))])

    def _predict(self, model: Any) -> Iterator[tuple[int, Any, Any]]:
        """Yield first window, log-probabilities of masked bytes [masked, 256], and the masks."""
        for i in range(0, len(self._tokens), BATCH):
            masked = self._masked[i : i + BATCH]
            with torch.inference_mode():
                logits = model(self._tokens[i : i + BATCH])[masked][:, :256]
                yield i, logits.float().log_softmax(1), masked

    def _trace(self, file: Path) -> None:
        found = torch.cat([beliefs for _, beliefs, _ in self._predict(self.original())])
        save_arrays(file, {"log_probabilities": found.numpy()})


def halves(text: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the windows [n, 128] of the first and of the second half of a text."""
    data = np.frombuffer(text, np.uint8).astype(np.int64)
    rows = data[: len(data) // LENGTH * LENGTH].reshape(-1, LENGTH)
    return rows[: len(rows) // 2], rows[len(rows) // 2 :]


def ranks(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    """Return n random orders of the positions of a window, [n, 128]."""
    found: NDArray[np.int64] = rng.random((n, LENGTH)).argsort(axis=1).argsort(axis=1)
    return found


def unmasking(texts: NDArray[np.int64], seed: int, trajectories: int) -> Iterator[dict[str, Any]]:
    """Yield calls of trajectories: texts that lose their masks in a random order, in 20 steps.

    The texts are as many different ones as there are trajectories, up to all of them.
    """
    rng = np.random.default_rng(seed)
    chosen = texts[np.resize(rng.permutation(len(texts)), trajectories)]
    order = ranks(rng, trajectories)
    for level in range(LEVELS, 0, -1):
        tokens = np.where(order < round(level / LEVELS * LENGTH), MASK, chosen)
        yield {"tokens": torch.from_numpy(tokens)}


def _means(values: Any, masked: Any) -> Floats:
    """Return the mean of each window's masked bytes."""
    spread = torch.zeros(masked.shape, dtype=torch.float64)
    spread[masked] = values.double()
    means: Floats = (spread.sum(1) / masked.sum(1)).numpy()
    return means
