"""The examples in docstrings run as they stand."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import arrow_quant_v2
from arrow_quant_v2 import load, quantizer

EXAMPLES = [
    example
    for module in (arrow_quant_v2, load, quantizer)
    for example in doctest.DocTestFinder(exclude_empty=True).find(module)
    if example.examples
]
CONFIG_EXAMPLE = doctest.DocTestParser().get_doctest(
    arrow_quant_v2.DiffusionQuantConfig.__doc__ or "", {}, "DiffusionQuantConfig", None, 0
)


@pytest.mark.parametrize("example", [*EXAMPLES, CONFIG_EXAMPLE], ids=lambda example: example.name)
def test_an_example_runs(
    example: doctest.DocTest,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tiny_model.parent)
    if example.name.startswith("arrow_quant_v2.load"):
        arrow_quant_v2.ArrowQuantV2().quantize_diffusion_model("model", "model-int4")
    example.globs = {}
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example)
    assert results.failed == 0, capsys.readouterr().out
    assert results.attempted > 0
