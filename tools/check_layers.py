"""Hold every #include of the C++ sources against the direction of the house.

A folder below arrow_quant/ is a layer. Its CMakeLists.txt names, after DEPENDS, the layers that it
may include, and these must come before it in arrow_quant/CMakeLists.txt. The command line and the
Python bindings see CALLER_LAYERS only. Headers of a third party stay in the places of HOMES and out
of public headers, so that replacing a library touches one folder.

    python tools/check_layers.py [ROOT]

prints "file:line: what and why" for each violation, and exits 1 if there is one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

CALLERS = ("cli", "python/bindings")
CALLER_LAYERS = ("core", "config", "io", "pipeline")
# The first part of an include path, and where such headers may be included: folders, of which
# "folder/*.cc" means the sources alone. Tests may include what their folder may, and gtest, gmock.
# The command line's own headers have a home in the same way.
HOMES = {
    "hwy": ("arrow_quant/kernels",),
    "Eigen": ("arrow_quant/quant/*.cc",),
    "yaml-cpp": ("arrow_quant/config",),
    "arrow": ("arrow_quant/io",),
    "parquet": ("arrow_quant/io",),
    "xxhash.h": ("arrow_quant/io",),
    "nlohmann": ("arrow_quant/io", "arrow_quant/pipeline/*.cc", "cli"),
    "CLI": ("cli",),
    "cli": ("cli",),
    "nanobind": ("python/bindings",),
    "Python.h": ("python/bindings",),
    "gtest": (),
    "gmock": (),
    "benchmark": (),
}
TEST_ONLY = ("gtest", "gmock")
SYSTEM_FOLDERS = ("sys", "linux", "asm")
UMBRELLA = "arrow_quant/arrow_quant.h"

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
LAYER = re.compile(r"arrow_quant_layer\(\s*(\w+)([^)]*)\)")


class Violation(NamedTuple):
    """A line that breaks a rule; its file is relative to the root."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


class Layer(NamedTuple):
    """What a layer's CMakeLists.txt says."""

    name: str
    line: int
    depends: tuple[str, ...]


class House:
    """The sources below a root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.includes = cache(self._includes)
        self.foreign_below = cache(self._foreign_below)
        self.layers = {
            file.parent.name: layer
            for file in sorted(root.glob("arrow_quant/*/CMakeLists.txt"))
            if (layer := read_layer(file)) is not None
        }

    def _includes(self, file: str) -> tuple[tuple[int, str], ...]:
        """Return the includes of a file: line and path."""
        lines = (self.root / file).read_text(encoding="utf-8").splitlines()
        found = ((number, INCLUDE.match(line)) for number, line in enumerate(lines, 1))
        return tuple((number, match[1]) for number, match in found if match)

    def _foreign_below(self, header: str) -> str | None:
        """Return the header of a third party that a header of ours includes, near or far."""
        seen, waiting = {header}, [header]
        while waiting:
            file = waiting.pop()
            for _, path in self.includes(file) if (self.root / file).is_file() else ():
                if path.split("/")[0] in HOMES:
                    return path
                if path.startswith("arrow_quant/") and path not in seen:
                    seen.add(path)
                    waiting.append(path)
        return None

    def files(self, folder: str) -> list[str]:
        """Return the C++ files of a folder, relative to the root."""
        paths = [p for p in (self.root / folder).rglob("*") if p.suffix in (".h", ".cc")]
        return sorted(p.relative_to(self.root).as_posix() for p in paths)


def read_layer(file: Path) -> Layer | None:
    """Read the arrow_quant_layer call of a CMakeLists.txt."""
    text = file.read_text(encoding="utf-8")
    call = LAYER.search(text)
    if call is None:
        return None
    depends: list[str] = []
    keyword = ""
    for word in call[2].split():
        if word.isupper():
            keyword = word
        elif keyword == "DEPENDS":
            depends.append(word)
    return Layer(call[1], text[: call.start()].count("\n") + 1, tuple(depends))


def check_declarations(house: House) -> Iterator[Violation]:
    """Each layer has a name, an order, and depends only on layers before it."""
    order_file = house.root / "arrow_quant/CMakeLists.txt"
    order = re.findall(r"add_subdirectory\((\w+)\)", order_file.read_text(encoding="utf-8"))
    for folder in sorted({p.parent.name for p in house.root.glob("arrow_quant/*/*.cc")}):
        if folder not in house.layers:
            where = f"arrow_quant/{folder}/CMakeLists.txt"
            yield Violation(where, 1, f"declares no layer: say arrow_quant_layer({folder} …)")
    for folder, layer in house.layers.items():
        where = f"arrow_quant/{folder}/CMakeLists.txt"
        if layer.name != folder:
            what = f"declares the layer '{layer.name}': a layer has the name of its folder"
            yield Violation(where, layer.line, what)
        if folder not in order:
            what = f"'{folder}' is not among the add_subdirectory lines that give the order"
            yield Violation("arrow_quant/CMakeLists.txt", 1, what)
            continue
        for other in layer.depends:
            if other not in order[: order.index(folder)]:
                what = f"'{folder}' may not depend on '{other}', which does not come before it"
                yield Violation(where, layer.line, what)


def check_layer_include(house: House, file: str, line: int, path: str) -> Iterator[Violation]:
    """Hold one include of a header of ours against what the file's folder may include."""
    folder, target = file.rsplit("/", 1)[0], path.split("/")[1]
    if path == UMBRELLA:
        what = f"'{UMBRELLA}' is for users: include the headers that are needed"
        yield Violation(file, line, what)
        return
    if any(file.startswith(caller + "/") for caller in CALLERS):
        allowed: tuple[str, ...] = CALLER_LAYERS
        said = f"the command line and the bindings see only {', '.join(CALLER_LAYERS)}"
    else:
        own = folder.split("/")[1]
        depends = house.layers[own].depends if own in house.layers else ()
        allowed = (own, *depends)
        said = f"DEPENDS in arrow_quant/{own}/CMakeLists.txt names {', '.join(depends) or 'none'}"
    if target not in allowed:
        yield Violation(file, line, f"includes '{path}' of the layer '{target}': {said}")


def check_foreign_include(file: str, line: int, path: str) -> Iterator[Violation]:
    """Hold one include of a header that is not ours against HOMES."""
    library = path.split("/")[0]
    if library not in HOMES:
        if "/" in path and library not in SYSTEM_FOLDERS:
            what = f"includes '{path}', whose home no line of HOMES in tools/check_layers.py says"
            yield Violation(file, line, what)
        return
    if is_test(file) and library in TEST_ONLY:
        return
    if file.endswith("_bench.cc") and library == "benchmark":
        return
    homes = HOMES[library]
    for home in homes:
        if file.startswith(home.removesuffix("*.cc").rstrip("/") + "/") and (
            not home.endswith("*.cc") or file.endswith(".cc")
        ):
            return
    where = " or ".join(homes) or "tests and benchmarks"
    yield Violation(file, line, f"includes '{path}', which belongs in {where} alone")


def is_test(file: str) -> bool:
    """Whether a file is a test, or what tests share: x_test.cc, x_test_util.h."""
    return re.search(r"_test[_.]", file.rsplit("/", 1)[-1]) is not None


def is_public(file: str) -> bool:
    """Whether users or other layers see a header: not io's own, nor loops that are compiled in."""
    return (
        file.startswith("arrow_quant/")
        and not file.startswith("arrow_quant/io/")
        and file.endswith(".h")
        and not file.endswith("-inl.h")
        and not is_test(file)
    )


def check_public_include(house: House, file: str, line: int, path: str) -> Iterator[Violation]:
    """A public header shows no header of a third party, not even through another header."""
    if path.split("/")[0] in HOMES:
        what = f"includes '{path}': public headers show no third party, or users would need it too"
        yield Violation(file, line, what)
    elif path.startswith("arrow_quant/") and not is_public(path):
        below = house.foreign_below(path)
        if below is not None:
            what = f"includes '{path}', which brings '{below}': public headers show no third party"
            yield Violation(file, line, what)


def check(root: Path) -> list[Violation]:
    """Return every violation below a root, in the order of files and lines."""
    house = House(root)
    found = list(check_declarations(house))
    for file in [f for folder in ("arrow_quant", *CALLERS) for f in house.files(folder)]:
        for line, path in house.includes(file):
            in_layer = file != UMBRELLA
            if path.startswith("arrow_quant/"):
                if in_layer:
                    found += check_layer_include(house, file, line, path)
            else:
                found += check_foreign_include(file, line, path)
            if is_public(file):
                found += check_public_include(house, file, line, path)
    return sorted(set(found))


def main(arguments: list[str]) -> int:
    """Print the violations below the root named, or below this file's project."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[1]
    if not (root / "arrow_quant/CMakeLists.txt").is_file():
        print(
            f"{root}: has no arrow_quant/CMakeLists.txt; give the project's root", file=sys.stderr
        )
        return 2
    found = check(root)
    for violation in found:
        print(violation)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
