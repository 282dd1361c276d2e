"""The arguments of calls come back exactly, or not at all and with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from arrow_quant_v2 import MetadataError, ModelNotFoundError
from arrow_quant_v2.calibration import collect, inputs, load_inputs

VALUES: dict[str, Any] = {
    "bfloat16": torch.ones(2, 3, dtype=torch.bfloat16),
    "bool": torch.tensor([True, False]),
    "empty": torch.empty(0, 4),
    "0-d": torch.tensor(3),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "nested": {"a": (1, 2.5, None), "b": [True, "text", {"c": torch.ones(1)}], "d": ()},
    "infinite": float("-inf"),
    "large": 2**60,
}


class Lenient(torch.nn.Module):  # type: ignore[misc]
    """Takes whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(512, 64)

    def forward(self, x: Any, timestep: Any = None, extra: Any = None) -> Any:
        return self.fc(x)


def collected(tmp_path: Path, given: list[dict[str, Any]], **options: Any) -> Any:
    return collect(Lenient(), given, out=tmp_path / "c.parquet", hessian=False, **options)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def test_every_kind_of_argument_comes_back_exactly(tmp_path: Path) -> None:
    x = torch.randn(2, 512)
    given = [
        {"x": x, "timestep": 5, "extra": VALUES},
        {"x": x, "timestep": torch.tensor([3.0, 3.0]), "extra": VALUES},
        {"args": (x + 1, 1)},
    ]
    result = collected(tmp_path, given)
    assert result["inputs_path"] == str(tmp_path / "c.inputs.safetensors")
    assert same(load_inputs(tmp_path / "c.parquet"), given)
    assert same(load_inputs(result["inputs_path"]), given)


def test_what_stays_the_same_is_stored_once(tmp_path: Path) -> None:
    same_each_time = torch.randn(2, 5000)
    given = [
        {"x": torch.randn(2, 512), "timestep": t, "extra": same_each_time} for t in range(9, 0, -1)
    ]
    result = collected(tmp_path, given)
    assert Path(result["inputs_path"]).stat().st_size < 2 * 5000 * 4 + 9 * 2 * 512 * 4 + 8000
    assert same(load_inputs(result["inputs_path"]), given)


def test_a_tensor_that_changes_in_place_is_kept_as_it_was(tmp_path: Path) -> None:
    x = torch.zeros(2, 512)

    def changing() -> Any:
        for t in (3, 2, 1):
            x.add_(1)
            yield {"x": x, "timestep": t}

    collect(Lenient(), changing(), out=tmp_path / "c.parquet", hessian=False)
    assert [call["x"][0, 0].item() for call in load_inputs(tmp_path / "c.parquet")] == [1, 2, 3]


@pytest.mark.parametrize(
    ("extra", "limit", "words"),
    [(object(), 1 << 20, r"inputs\['extra'\] is a object"), (None, 1000, "more than 0 MiB")],
)
def test_what_cannot_be_kept_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: Any, limit: int, words: str
) -> None:
    import re

    given = [{"x": torch.randn(2, 512), "timestep": 1}]
    collected(tmp_path, given)
    monkeypatch.setattr(inputs, "MAX_BYTES", limit)
    result = collected(tmp_path, [{**given[0], "extra": extra}])
    assert result["inputs_path"] is None
    assert any(re.search(words, warning) for warning in result["warnings"])
    with pytest.raises(ModelNotFoundError, match="no inputs were kept"):
        load_inputs(tmp_path / "c.parquet")


def test_inputs_need_not_be_kept(tmp_path: Path) -> None:
    result = collected(tmp_path, [{"x": torch.randn(2, 512)}], keep_inputs=False)
    assert result["inputs_path"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["c.parquet"]


def test_another_file_is_told_from_inputs(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(MetadataError, match="holds no inputs"):
        load_inputs(tmp_path / "x.safetensors")
