"""docs/configuration.md lists the options that there are."""

from __future__ import annotations

import re
from pathlib import Path

from arrow_quant_v2 import DiffusionQuantConfig
from tools.config_table import PAGE, updated


def test_the_table_of_options_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert updated(page) == page, "run: python tools/config_table.py"


def test_a_changed_table_is_noticed() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert updated(page.replace("| `bit_width`", "| `bit_size`")) == page


def test_the_yaml_of_the_page_is_a_config(tmp_path: Path) -> None:
    [yaml] = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "options.yaml").write_text(yaml)
    config = DiffusionQuantConfig.from_yaml(tmp_path / "options.yaml")
    assert (config.bit_width, config.group_size, config.markov_weight) == (4, 256, 0.5)
