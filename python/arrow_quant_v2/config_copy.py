"""config_with: a config with a few other options."""

from __future__ import annotations

import copy
from typing import Any

from arrow_quant_v2._core import DiffusionQuantConfig


def config_with(config: DiffusionQuantConfig, **options: Any) -> DiffusionQuantConfig:
    """Return a copy of a config with other values of some options; the config stays as it is."""
    changed = copy.copy(config)
    for name, value in options.items():
        setattr(changed, name, value)
    return changed
