from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import arrow_quant_v2
from arrow_quant_v2._build_info import PYARROW_MINOR


def run_python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter, with `path` before all else where imports are looked up."""
    lines = [f"import sys; sys.path[:0] = {[str(p) for p in path]!r}", code]
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )


def test_the_version_is_that_of_the_distribution() -> None:
    assert arrow_quant_v2.__version__ == importlib.metadata.version("arrow-quant-v2")


@pytest.mark.parametrize(
    "imports",
    [
        "import arrow_quant_v2",
        "import pyarrow.parquet, arrow_quant_v2",
        "import arrow_quant_v2, pyarrow.parquet",
    ],
)
def test_there_is_one_libarrow_in_the_process(imports: str) -> None:
    code = f"""{imports}
import pathlib, pyarrow
mapped = {{line.split()[-1] for line in open("/proc/self/maps") if "libarrow.so" in line}}
assert mapped == {{str(next(pathlib.Path(pyarrow.__file__).parent.glob("libarrow.so.*")))}}, mapped
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("version", ["25.0.0", "27.1.0"])
def test_another_pyarrow_is_refused_with_the_remedy(version: str, tmp_path: Path) -> None:
    (tmp_path / "pyarrow").mkdir()
    (tmp_path / "pyarrow" / "__init__.py").write_text(f"__version__ = {version!r}\n")
    result = run_python("import arrow_quant_v2", tmp_path)
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert version in last
    assert f"pip install 'pyarrow=={PYARROW_MINOR}.*'" in last


def test_a_missing_pyarrow_is_named_with_the_remedy() -> None:
    result = run_python("sys.modules['pyarrow'] = None\nimport arrow_quant_v2")
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert f"pip install 'pyarrow=={PYARROW_MINOR}.*'" in last


def test_neither_torch_nor_other_frameworks_are_imported() -> None:
    code = (
        "import arrow_quant_v2\nprint(sorted({'torch', 'safetensors', 'jax'} & set(sys.modules)))"
    )
    assert run_python(code).stdout.strip() == "[]"


def test_everything_public_is_listed() -> None:
    for name in arrow_quant_v2.__all__:
        assert getattr(arrow_quant_v2, name) is not None
