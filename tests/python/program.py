"""The command line as installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).with_name("arrow-quant")

Completed = subprocess.CompletedProcess[str]


def run(*arguments: str | Path, **options: Any) -> Completed:
    """Run it to its end; the exit code is the caller's to look at."""
    assert PROGRAM.exists(), f"{PROGRAM} is not installed: run 'make test'"
    return subprocess.run(
        [PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def layers_of(done: Completed) -> dict[str, dict[str, Any]]:
    """Return the layers of a result in JSON, by name."""
    return {layer["name"]: layer for layer in json.loads(done.stdout)["layers"]}
