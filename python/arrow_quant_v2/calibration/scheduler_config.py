"""The config of a diffusers scheduler: where it lies, and what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAME = "scheduler_config.json"


def scheduler_file(folder: Path) -> Path | None:
    """Return the config in a scheduler's folder, or in that of its pipeline; None without one."""
    for file in (folder / NAME, folder / "scheduler" / NAME):
        if file.is_file():
            return file
    return None


def read_scheduler_config(path: Path) -> dict[str, Any] | None:
    """Read a scheduler's config: a file, or what `scheduler_file` finds; None without one."""
    file = path if path.is_file() else scheduler_file(path)
    if file is None:
        return None
    config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return config


def entry(config: Any, name: str, default: Any) -> Any:
    """Return an entry of a config, a mapping or an object; the default where it says nothing."""
    value = config.get(name, default) if hasattr(config, "get") else getattr(config, name, default)
    return default if value is None else value


def is_flow(name: str, config: Any) -> bool:
    """Return whether a scheduler, by its class's name and its config, is of flow matching."""
    return (
        "Flow" in name
        or bool(entry(config, "use_flow_sigmas", False))
        or entry(config, "prediction_type", "") == "flow_prediction"
    )
