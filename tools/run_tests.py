"""Run every test of a build: the C++ tests through ctest, then the Python tests through pytest.

Ends with one line, "N passed, M failed, K skipped", for both together. The exit code is 1 if a
test failed, or if either runner ran none.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple


class Counts(NamedTuple):
    """Numbers of test cases."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: object) -> Counts:
        if not isinstance(other, Counts):
            return NotImplemented
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


def read_junit(path: Path) -> Counts:
    """Count the cases of a JUnit report; a report that is not there counts as one failure."""
    if not path.exists():
        return Counts(failed=1)
    passed = failed = skipped = 0
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return Counts(passed, failed, skipped)


def run(title: str, command: list[str], report: Path) -> Counts:
    """Run one test program that writes `report`."""
    print(f"== {title}", flush=True)
    report.unlink(missing_ok=True)
    code = subprocess.run(command, check=False).returncode
    counts = read_junit(report)
    if counts.passed == 0 or (code != 0 and counts.failed == 0):
        print(f"{title}: exit code {code}, {counts.passed} tests passed", flush=True)
        return counts + Counts(failed=1)
    return counts


def main() -> int:
    """Run both and print the sum."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="the CMake build folder")
    build: Path = parser.parse_args().build.resolve()
    ctest = ["ctest", "--test-dir", str(build), "--output-on-failure", "--no-tests=error"]
    ctest += ["-j", str(os.cpu_count() or 1), "--output-junit", str(build / "ctest.xml")]
    pytest = [sys.executable, "-m", "pytest", "-q", "--durations=8"]
    pytest += [f"--junitxml={build / 'pytest.xml'}"]
    total = run("C++ tests", ctest, build / "ctest.xml")
    total += run("Python tests", pytest, build / "pytest.xml")
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
