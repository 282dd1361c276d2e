"""The digits DiT as a subject: noise that it predicts, and digits that it draws."""

# torch and diffusers are nothing but Any where their types are left out.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, DiTTransformer2DModel

from arrow_quant_v2.calibration import collect
from examples.digits_dit.digits_dit import MODEL, NULL_CLASS, fixed_noise
from examples.evaluation.subject import Measured, reference_file, save_arrays

GUIDANCE = 1.5
HELD_OUT_SEED = 9999
STRIDE = 2  # errors are measured at every second step of the sampler


class Digits:
    """DDIM with guidance 1.5, measured on trajectories of the full-precision model.

    Parameters
    ----------
    work : Path
        Where the full-precision trajectories are kept.
    trajectories : int
        Held out, for measuring.
    steps : int
        Of the sampler.
    """

    name = "digits_dit"
    source = MODEL
    about = (
        "DDIM in 50 steps at guidance 1.5. At every second step of held-out trajectories of the\n"
        "  full-precision model both models get the same input. PSNR compares the digits that both "
        "draw\n  from the same noise, in [-1, 1]."
    )
    error_words = "relative mean square error of the predicted noise"
    step_words = "timestep"
    draws = True

    def __init__(self, work: Path, trajectories: int = 64, steps: int = 50) -> None:
        self._steps = steps
        self._scheduler = DDIMScheduler.from_pretrained(MODEL / "scheduler")
        self._scheduler.set_timesteps(steps)
        self.steps = self._scheduler.timesteps[::STRIDE].double().numpy()
        self._noise = torch.from_numpy(fixed_noise(trajectories, HELD_OUT_SEED))
        file = reference_file(self, work, f"trajectories-{trajectories}-{steps}-{STRIDE}")
        if not file.exists():
            self._trace(file)
        with np.load(file) as found:
            self._inputs, self._predicted, self._drawn = (
                torch.from_numpy(found[key]) for key in ("inputs", "predicted", "drawn")
            )

    def original(self) -> Any:
        return DiTTransformer2DModel.from_pretrained(
            MODEL / "transformer", torch_dtype=torch.float32, low_cpu_mem_usage=False
        ).eval()

    def empty(self) -> Any:
        return DiTTransformer2DModel.from_config(
            DiTTransformer2DModel.load_config(MODEL / "transformer")
        ).eval()

    def calibrate(self, seed: int, trajectories: int, out: Path) -> None:
        # Seeds of calibration are 1000 apart from the held-out one: other noise.
        noise = torch.from_numpy(fixed_noise(trajectories, seed))
        collect(
            self.original(),
            sampler=lambda model: [None for _ in self._sample(model, noise)],
            out=out,
            seed=seed,
            scheduler=MODEL / "scheduler",
            component="transformer",
            guidance_branches=2,
            resume=False,
        )

    def measure(self, model: Any, samples: bool) -> Measured:
        errors = []  # of each step, [trajectories]
        with torch.inference_mode():
            times = self._scheduler.timesteps[::STRIDE]
            for t, x, expected in zip(times, self._inputs, self._predicted, strict=True):
                off = _predict(model, x, t) - expected
                errors.append(off.double().square().mean((0, 2, 3, 4)).numpy())
        table = np.stack(errors) / float(self._predicted.double().square().mean())
        psnr = self._psnr(model) if samples else None
        return Measured(float(table.mean()), table.mean(0), table.mean(1), psnr_db=psnr)

    def _psnr(self, model: Any) -> float:
        for _, _, x in self._sample(model, self._noise):
            drawn = x
        off = drawn.clamp(-1, 1) - self._drawn.clamp(-1, 1)
        mean_square = float(off.double().square().mean())
        return float(10 * np.log10(4 / mean_square)) if mean_square else float("inf")

    def _sample(self, model: Any, x: Any) -> Iterator[tuple[Any, Any, Any]]:
        """Draw digits from noise [n, 1, 8, 8]; yield input, both predictions and next input."""
        for t in self._scheduler.timesteps:
            with torch.inference_mode():
                both = _predict(model, x, t)
                noise = both[1] + GUIDANCE * (both[0] - both[1])
                before, x = x, self._scheduler.step(noise, t, x).prev_sample
            yield before, both, x

    def _trace(self, file: Path) -> None:
        steps = list(self._sample(self.original(), self._noise))
        inputs, predicted, after = (
            torch.stack(found).numpy() for found in zip(*steps, strict=True)
        )
        kept = {"inputs": inputs[::STRIDE], "predicted": predicted[::STRIDE], "drawn": after[-1]}
        save_arrays(file, kept)


def _predict(model: Any, x: Any, t: Any) -> Any:
    """Return the noise of x [n, 1, 8, 8], with its labels and with none, [2, n, 1, 8, 8]."""
    n = len(x)
    labels = torch.arange(n) % 10
    both = torch.cat([labels, torch.full_like(labels, NULL_CLASS)])
    predicted = model(torch.cat([x, x]), timestep=t.expand(2 * n).clone(), class_labels=both).sample
    return predicted.unflatten(0, (2, n))
