"""The house keeps its direction: tools/check_layers.py, on this tree and on small broken ones."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECK = ROOT / "tools" / "check_layers.py"
MAX_LINES = 500

# A house in order: each rule's test breaks one thing in it.
GOOD = {
    "arrow_quant/CMakeLists.txt": "\n".join(
        f"add_subdirectory({layer})"
        for layer in ("core", "kernels", "quant", "config", "io", "pipeline")
    ),
    "arrow_quant/core/CMakeLists.txt": "arrow_quant_layer(core)\n",
    "arrow_quant/kernels/CMakeLists.txt": "arrow_quant_layer(kernels DEPENDS core LIBRARIES hwy)\n",
    "arrow_quant/quant/CMakeLists.txt": "arrow_quant_layer(quant DEPENDS core kernels)\n",
    "arrow_quant/config/CMakeLists.txt": "arrow_quant_layer(config DEPENDS quant\n  LIBRARIES y)",
    "arrow_quant/io/CMakeLists.txt": "# Files.\narrow_quant_layer(io\n  DEPENDS core quant)\n",
    "arrow_quant/pipeline/CMakeLists.txt": "arrow_quant_layer(pipeline DEPENDS config io)",
    "arrow_quant/arrow_quant.h": '#include "arrow_quant/pipeline/run.h"\n',
    "arrow_quant/core/error.h": "#include <string>\n",
    "arrow_quant/core/error.cc": '#include "arrow_quant/core/error.h"\n#include <sys/mman.h>\n',
    "arrow_quant/core/error_test.cc": "#include <gtest/gtest.h>\n",
    "arrow_quant/core/error_test_util.h": "#include <gmock/gmock.h>\n",
    "arrow_quant/kernels/kernels.h": "#include <cstdint>\n",
    "arrow_quant/kernels/pack-inl.h": "#include <hwy/highway.h>\n",
    "arrow_quant/kernels/kernels.cc": "#  include <hwy/foreach_target.h>\n",
    "arrow_quant/quant/quantize.cc": '#include "arrow_quant/kernels/kernels.h"\n',
    "arrow_quant/config/yaml.cc": "#include <yaml-cpp/yaml.h>\n",
    "arrow_quant/io/schema.h": "#include <arrow/api.h>\n",
    "arrow_quant/io/part.h": '#include "arrow_quant/core/error.h"\n',
    "arrow_quant/io/part.cc": '#include <xxhash.h>\n#include "arrow_quant/io/schema.h"\n',
    "arrow_quant/pipeline/run.h": '#include "arrow_quant/io/part.h"\n',
    "arrow_quant/pipeline/result_json.cc": "#include <nlohmann/json.hpp>\n",
    "cli/main.cc": '#include <CLI/CLI.hpp>\n#include "arrow_quant/pipeline/run.h"\n',
    "cli/table.cc": '#include "cli/table.h"\n',
    "python/bindings/module.cc": '#include <nanobind/nanobind.h>\n#include "bindings.h"\n',
}

# What is put in place of, or beside, the good files, and the one line that the check prints.
BROKEN = {
    "a layer that DEPENDS does not name": (
        {"arrow_quant/core/log.cc": '\n#include "arrow_quant/quant/quantize.h"\n'},
        "arrow_quant/core/log.cc:2: includes 'arrow_quant/quant/quantize.h' of the layer 'quant'",
    ),
    "a test that reaches past DEPENDS": (
        {"arrow_quant/io/part_test.cc": '#include "arrow_quant/kernels/kernels.h"\n'},
        "arrow_quant/io/part_test.cc:1: includes 'arrow_quant/kernels/kernels.h'",
    ),
    "the umbrella inside the house": (
        {"arrow_quant/io/part.cc": '#include "arrow_quant/arrow_quant.h"\n'},
        "arrow_quant/io/part.cc:1: 'arrow_quant/arrow_quant.h' is for users",
    ),
    "Highway outside the kernels": (
        {"arrow_quant/quant/quantize.cc": '#include "hwy/highway.h"\n'},
        "arrow_quant/quant/quantize.cc:1: includes 'hwy/highway.h', which belongs in "
        "arrow_quant/kernels alone",
    ),
    "Eigen outside quant": (
        {"arrow_quant/pipeline/run.cc": "#include <Eigen/QR>\n"},
        "arrow_quant/pipeline/run.cc:1: includes 'Eigen/QR', which belongs in arrow_quant/quant",
    ),
    "yaml-cpp outside the config": (
        {"cli/main.cc": "#include <yaml-cpp/yaml.h>\n"},
        "cli/main.cc:1: includes 'yaml-cpp/yaml.h', which belongs in arrow_quant/config alone",
    ),
    "Arrow outside io": (
        {"arrow_quant/pipeline/run.cc": "#include <arrow/api.h>\n"},
        "arrow_quant/pipeline/run.cc:1: includes 'arrow/api.h'",
    ),
    "Parquet outside io": (
        {"python/bindings/module.cc": "#include <parquet/api/reader.h>\n"},
        "python/bindings/module.cc:1: includes 'parquet/api/reader.h'",
    ),
    "xxhash outside io": (
        {"arrow_quant/core/hash.cc": "#include <xxhash.h>\n"},
        "arrow_quant/core/hash.cc:1: includes 'xxhash.h'",
    ),
    "nlohmann in config": (
        {"arrow_quant/config/yaml.cc": "#include <nlohmann/json.hpp>\n"},
        "arrow_quant/config/yaml.cc:1: includes 'nlohmann/json.hpp'",
    ),
    "CLI11 in the library": (
        {"arrow_quant/config/flags.cc": "#include <CLI/CLI.hpp>\n"},
        "arrow_quant/config/flags.cc:1: includes 'CLI/CLI.hpp', which belongs in cli alone",
    ),
    "the command line in the library": (
        {"arrow_quant/core/error.cc": '#include "cli/table.h"\n'},
        "arrow_quant/core/error.cc:1: includes 'cli/table.h', which belongs in cli alone",
    ),
    "nanobind in the command line": (
        {"cli/main.cc": "#include <nanobind/nanobind.h>\n"},
        "cli/main.cc:1: includes 'nanobind/nanobind.h'",
    ),
    "Google Test outside tests": (
        {"arrow_quant/core/error.cc": "#include <gtest/gtest.h>\n"},
        "arrow_quant/core/error.cc:1: includes 'gtest/gtest.h', which belongs in tests",
    ),
    "a library without a home": (
        {"arrow_quant/core/error.cc": "#include <boost/any.hpp>\n"},
        "arrow_quant/core/error.cc:1: includes 'boost/any.hpp', whose home no line of HOMES",
    ),
    "a third party in a public header": (
        {"arrow_quant/config/config.h": "#include <yaml-cpp/yaml.h>\n"},
        "arrow_quant/config/config.h:1: includes 'yaml-cpp/yaml.h': public headers show no third",
    ),
    "a third party behind a public header": (
        {"arrow_quant/pipeline/run.h": '#include "arrow_quant/io/schema.h"\n'},
        "arrow_quant/pipeline/run.h:1: includes 'arrow_quant/io/schema.h', which brings "
        "'arrow/api.h'",
    ),
    "kernels in the command line": (
        {"cli/main.cc": '#include "arrow_quant/kernels/kernels.h"\n'},
        "cli/main.cc:1: includes 'arrow_quant/kernels/kernels.h' of the layer 'kernels': the",
    ),
    "quant in the bindings": (
        {"python/bindings/module.cc": '#include "arrow_quant/quant/bits.h"\n'},
        "python/bindings/module.cc:1: includes 'arrow_quant/quant/bits.h' of the layer 'quant'",
    ),
    "a layer of another name": (
        {"arrow_quant/core/CMakeLists.txt": "arrow_quant_layer(base)\n"},
        "arrow_quant/core/CMakeLists.txt:1: declares the layer 'base'",
    ),
    "a folder that is no layer": (
        {"arrow_quant/util/x.cc": "\n"},
        "arrow_quant/util/CMakeLists.txt:1: declares no layer",
    ),
    "a layer outside the order": (
        {"arrow_quant/util/CMakeLists.txt": "arrow_quant_layer(util)\n"},
        "arrow_quant/CMakeLists.txt:1: 'util' is not among the add_subdirectory lines",
    ),
    "a dependency against the direction": (
        {"arrow_quant/core/CMakeLists.txt": "\narrow_quant_layer(core DEPENDS io)\n"},
        "arrow_quant/core/CMakeLists.txt:2: 'core' may not depend on 'io'",
    ),
}


def run_check(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, CHECK, root], capture_output=True, text=True, encoding="utf-8", check=False
    )


def write_tree(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def test_this_house_is_in_order() -> None:
    result = run_check(ROOT)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_small_house_in_order_passes(tmp_path: Path) -> None:
    write_tree(tmp_path, GOOD)
    result = run_check(tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_house_is_told_where_and_why(tmp_path: Path, case: str) -> None:
    files, line = BROKEN[case]
    write_tree(tmp_path, GOOD | files)
    result = run_check(tmp_path)
    assert result.returncode == 1
    assert result.stderr == ""
    assert len(result.stdout.splitlines()) == 1
    assert result.stdout.startswith(line)


@pytest.mark.parametrize(
    ("header", "library"),
    [
        ("arrow_quant/pipeline/j.h", "nlohmann/json.hpp"),
        ("arrow_quant/quant/solve.h", "Eigen/QR"),
    ],
)
def test_a_header_with_a_library_of_the_sources_breaks_two_rules(
    tmp_path: Path, header: str, library: str
) -> None:
    write_tree(tmp_path, GOOD | {header: f"#include <{library}>\n"})
    result = run_check(tmp_path)
    assert result.returncode == 1
    assert [line.split(": ")[0] for line in result.stdout.splitlines()] == [
        f"{header}:1",
        f"{header}:1",
    ]


def test_a_root_without_a_house_is_wrong_usage(tmp_path: Path) -> None:
    result = run_check(tmp_path)
    assert result.returncode == 2
    assert "give the project's root" in result.stderr


def test_files_fit_on_a_few_screens() -> None:
    sources = [
        path
        for folder in ("arrow_quant", "cli", "python", "tests", "bench", "examples", "tools")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".h", ".cc", ".py", ".pyi")
    ]
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources
    }
    assert lengths
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}


def test_the_headers_that_are_installed_are_those_that_the_first_one_includes() -> None:
    included: set[str] = set()
    waiting = ["arrow_quant.h"]
    while waiting:
        header = waiting.pop()
        included.add(header)
        text = (ROOT / "arrow_quant" / header).read_text(encoding="utf-8")
        found = re.findall(r'^#include "arrow_quant/([^"]+)"', text, re.MULTILINE)
        waiting += set(found) - included
    script = (ROOT / "cmake" / "install.cmake").read_text(encoding="utf-8")
    listed = script.split("set(_public_headers")[1].split(")")[0].split()
    assert sorted(listed) == sorted(included)
