"""The machine and the versions that numbers belong to."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import arrow_quant_v2

PACKAGES = ("torch", "diffusers", "numpy", "pyarrow")


def machine() -> str:
    """Return a sentence on processor and versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{_processor()}, {os.cpu_count()} cores, a process for each model; "
        f"Python {platform.python_version()}, arrow-quant-v2 {arrow_quant_v2.__version__}, "
        f"{versions}."
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
