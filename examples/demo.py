"""Quantize the example models to 2, 4 and 8 bits, validate each, and show what was lost.

Runs the installed command line as a user would, prints a table, and writes
demo-output/samples.png: digits drawn by the original and by each quantized model from the same
noise, one strip a model. Takes about a minute on two cores. The models' forward passes are plain
numpy.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrow_quant_v2 import load_quantized
from examples.byte_mdlm.byte_mdlm import ByteMdlm, bits_per_byte
from examples.digits_dit.digits_dit import DigitsDiT, accuracy, fixed_noise, image_grid, sample
from examples.picture import write_png

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / "demo-output"
MODELS = {"digits_dit": HERE / "digits_dit/model", "byte_mdlm": HERE / "byte_mdlm/model"}
BITS = (2, 4, 8)
GROUP_SIZE = 64
NUM_DIGITS = 20
TEXT_WINDOWS = 64

HEADER = (
    f"{'type':<5} {'model':<11} {'bits/weight':>11} {'of model':>9} {'smaller':>8} {'SQNR dB':>8} "
    f"{'cosine':>8}  {'worst layer (cosine)':<52} {'seconds':>8} {'peak MiB':>9}  "
)


def arrow_quant(*arguments: str | Path) -> dict[str, Any]:
    """Run the installed command line and return what it reports; its exit code 3 is a report."""
    program = Path(sys.executable).with_name("arrow-quant")
    done = subprocess.run([program, *arguments, "--json"], stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(f"arrow-quant {' '.join(map(str, arguments))}: exit {done.returncode}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def dequantize(path: Path) -> dict[str, NDArray[np.float32]]:
    """Load a quantized model back as float32 arrays."""
    with load_quantized(path) as model:
        return {name: model[name].dequantize("float32") for name in model}


def table_row(bits: int, name: str, made: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """One line of the table, without the model's own figure."""
    worst = f"{found['worst_layer']} ({found['worst_cosine_similarity']:.4f})"
    return (
        f"int{bits:<2} {name:<11} {made['bits_per_weight']:>11.3f} "
        f"{made['bits_per_weight_model']:>9.3f} {made['compression_ratio']:>7.2f}x "
        f"{found['sqnr_db']:>8.2f} {found['cosine_similarity']:>8.5f}  {worst:<52} "
        f"{made['quantization_time_s']:>8.3f} {made['peak_memory_mb']:>9.1f}  "
    )


def draw_digits(model: DigitsDiT) -> tuple[NDArray[np.float32], str]:
    """Draw digits from fixed noise; return them and how many are recognized."""
    labels = np.arange(NUM_DIGITS) % 10
    images = sample(model, labels, fixed_noise(NUM_DIGITS))
    return images, f"{accuracy(images, labels):.0%} of digits recognized"


def read_text(model: ByteMdlm) -> str:
    """How well the model predicts the held-out text."""
    return f"{bits_per_byte(model, windows=TEXT_WINDOWS):.3f} bits per byte"


def main() -> None:
    """Run the demo."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir()
    original, digits = draw_digits(DigitsDiT.load())
    print(f"original digits_dit: {digits}; original byte_mdlm: {read_text(ByteMdlm.load())}")
    print(f"\nEach model at 2, 4 and 8 bits, groups of {GROUP_SIZE}:\n\n{HEADER}")
    strips = [original]
    for bits in BITS:
        for name, source in MODELS.items():
            target = OUTPUT / f"{name}-int{bits}"
            made = arrow_quant(
                "quantize", source, target, "--bits", str(bits), "--group-size", str(GROUP_SIZE)
            )
            found = arrow_quant("validate", source, target)
            row = table_row(bits, name, made, found)
            if name == "digits_dit":
                images, note = draw_digits(DigitsDiT(dequantize(target)))
                strips.append(images)
            else:
                note = read_text(ByteMdlm(dequantize(target)))
            print(row + note, flush=True)
    picture = OUTPUT / "samples.png"
    write_png(picture, image_grid(np.concatenate(strips), columns=NUM_DIGITS))
    print(f"\n{picture}: from the same noise, row by row: the original, int2, int4, int8")


if __name__ == "__main__":
    main()
