"""Subject: a model that is evaluated, with its own inputs and measures."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import arrow_quant_v2.calibration

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measured:
    """How far a quantized model is from the full-precision one, on the subject's held-out inputs.

    Attributes
    ----------
    error : float
        What the tables rank by; `Subject.error_words` says what it is.
    per_sample : ndarray, [samples]
        The error of each trajectory or text, paired between rows; their mean is `error`.
    per_step : ndarray, [steps]
        The error by noise level, from noise to result.
    psnr_db : float or None
        Of samples against those of the full-precision model from the same noise.
    excess_bits : float or None
        Bits per byte of text beyond those of the full-precision model.
    """

    error: float
    per_sample: Floats
    per_step: Floats
    psnr_db: float | None = None
    excess_bits: float | None = None


class Subject(Protocol):
    """A model, its calibration data, and what is measured of it.

    Attributes
    ----------
    name : str
    source : Path
        What is quantized.
    about : str
        How it is measured, for the reader of the tables.
    error_words, step_words : str
        What `Measured.error` is, and what `Measured.per_step` runs over.
    steps : ndarray
        The places of `Measured.per_step` on that axis.
    draws : bool
        Whether samples are compared, and there is a PSNR.
    """

    name: str
    source: Path
    about: str
    error_words: str
    step_words: str
    steps: Floats
    draws: bool

    def calibrate(self, seed: int, trajectories: int, out: Path) -> None:
        """Collect calibration data of so many trajectories into the file `out`."""

    def original(self) -> Any:
        """Return the model in full precision."""

    def empty(self) -> Any:
        """Return the model with whatever weights, for `load_model` to fill."""

    def measure(self, model: Any, samples: bool) -> Measured:
        """Measure a model; `samples` says whether it is also let sample."""


def calibration_file(subject: Subject, work: Path, seed: int, trajectories: int) -> Path:
    """Return the calibration file of a seed, collected where it is not there yet.

    Its name has a hash of the model and of the code that collects, so that an old one of other
    contents is not taken.
    """
    folder = work / subject.name
    folder.mkdir(parents=True, exist_ok=True)
    key = _hash(subject.source, Path(arrow_quant_v2.calibration.__file__).parent)
    file = folder / f"calibration-seed{seed}-{trajectories}-{key}.parquet"
    if not file.exists():
        subject.calibrate(seed, trajectories, file)
    return file


def reference_file(subject: Subject, work: Path, name: str) -> Path:
    """Return where the full-precision model's results of that name are kept."""
    folder = work / subject.name
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}-{_hash(subject.source)}.npz"


def save_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays to an .npz file, whole or not at all."""
    part = path.with_suffix(f".{os.getpid()}.npz")
    save: Any = np.savez  # keywords may be names of arrays
    save(part, **arrays)
    part.replace(path)


def _hash(*folders: Path) -> str:
    """Return eight characters that stand for the files of the folders."""
    found = hashlib.sha256()
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                found.update(file.relative_to(folder).as_posix().encode())
                found.update(file.read_bytes())
    return found.hexdigest()[:8]
