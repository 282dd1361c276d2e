"""Prompts from a file: text, JSON, JSON lines or YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from arrow_quant_v2.calibration.require import require
from arrow_quant_v2.errors import ConfigurationError

_KEYS = ("prompt", "text", "caption")


def read_prompts(path: Path) -> list[str]:
    """Read a list of prompts.

    Parameters
    ----------
    path : Path
        ``.json`` and ``.yaml`` hold a list, ``.jsonl`` an entry per line, any other file a prompt
        per line. An entry is a text, a number, or an object with "prompt", "text" or "caption".

    Raises
    ------
    ConfigurationError
        If it cannot be read, or holds no prompts.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"prompts: '{path}' cannot be read ({error})") from error
    try:
        entries = _entries(path.suffix.lower(), text)
    except ValueError as error:
        raise ConfigurationError(
            f"prompts: '{path}' is no {path.suffix[1:].upper()} ({error}); a text file has a "
            "prompt per line"
        ) from error
    prompts = [_prompt(entry, path) for entry in entries]
    if not prompts:
        raise ConfigurationError(f"prompts: '{path}' holds none; write one per line")
    return prompts


def _entries(suffix: str, text: str) -> list[Any]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if suffix == ".jsonl":
        return [json.loads(line) for line in lines]
    if suffix not in (".json", ".yaml", ".yml"):
        return lines
    if suffix == ".json":
        entries = json.loads(text)
    else:
        yaml = require("yaml", "Reading prompts in YAML")
        try:
            entries = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error
    if not isinstance(entries, list):
        raise ValueError("not a list")
    return entries


def _prompt(entry: Any, path: Path) -> str:
    if isinstance(entry, dict):
        entry = next((entry[key] for key in _KEYS if key in entry), None)
    if isinstance(entry, str) or (isinstance(entry, int) and not isinstance(entry, bool)):
        return str(entry)
    raise ConfigurationError(
        f"prompts: '{path}' has an entry that is neither a text nor an object with one of "
        f"{list(_KEYS)}; write a list of texts"
    )
