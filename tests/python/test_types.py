"""The package as type checkers and linters see it."""

from __future__ import annotations

import ast
import functools
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from arrow_quant_v2 import DiffusionQuantConfig, _core

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "arrow_quant_v2"


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("mypy", ["--strict"]),
        (
            "mypy.stubtest",
            [
                "--mypy-config-file=pyproject.toml",
                "--allowlist=tests/python/stubtest_allowlist.txt",
                "--ignore-unused-allowlist",
                "arrow_quant_v2",
            ],
        ),
        ("ruff", ["check", "python", "tests/python"]),
        ("ruff", ["format", "--check", "python", "tests/python"]),
    ],
    ids=["mypy", "stubs", "lint", "format"],
)
def test_the_package_passes(tool: str, arguments: list[str]) -> None:
    pytest.importorskip(tool.partition(".")[0])
    result = subprocess.run(
        [sys.executable, "-m", tool, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def stub_of_the_module() -> list[ast.stmt]:
    return ast.parse((PACKAGE / "_core.pyi").read_text()).body


def stub_functions() -> dict[str, ast.FunctionDef]:
    """All functions in the stub by qualified name, but constructors and properties."""
    functions = {n.name: n for n in stub_of_the_module() if isinstance(n, ast.FunctionDef)}
    for owner in stub_of_the_module():
        for n in owner.body if isinstance(owner, ast.ClassDef) else []:
            decorators = [ast.unparse(d) for d in n.decorator_list] if hasattr(n, "name") else []
            is_property = any(d == "property" or d.endswith(".setter") for d in decorators)
            if isinstance(n, ast.FunctionDef) and not is_property and n.name != "__init__":
                functions[f"{owner.name}.{n.name}"] = n
    return functions


@pytest.mark.parametrize("name", stub_functions())
def test_a_function_of_the_module_has_the_parameters_in_its_stub(name: str) -> None:
    function = functools.reduce(getattr, name.split("."), _core)
    [(signature, _, _)] = function.__nb_signature__
    [actual] = ast.parse(f"{signature}: ...").body
    assert isinstance(actual, ast.FunctionDef)
    positional_only, named = actual.args.posonlyargs, actual.args.args
    stub = [a.arg for a in stub_functions()[name].args.args]
    assert len(stub) == len(positional_only) + len(named)
    assert stub[len(positional_only) :] == [a.arg for a in named]
    assert (stub_functions()[name].returns is None) == (actual.returns is None)


def stub_defaults() -> dict[str, object]:
    """Names and defaults of the config's constructor in the stub."""
    [config] = [
        n
        for n in stub_of_the_module()
        if isinstance(n, ast.ClassDef) and n.name == "DiffusionQuantConfig"
    ]
    [init] = [n for n in config.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    names = [a.arg for a in [*init.args.args[1:], *init.args.kwonlyargs]]
    defaults = [*init.args.defaults, *init.args.kw_defaults]
    return {n: ast.literal_eval(d) for n, d in zip(names, defaults, strict=True) if d is not None}


def test_the_stub_lists_the_options_of_the_library() -> None:
    parameters = inspect.signature(DiffusionQuantConfig).parameters
    assert stub_defaults() == {name: p.default for name, p in parameters.items()}
    assert list(stub_defaults()) == list(parameters)
