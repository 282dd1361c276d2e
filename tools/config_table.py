"""Write the table of options into docs/configuration.md, from the library's own list.

python tools/config_table.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arrow_quant_v2 import DeploymentProfile, DiffusionQuantConfig, _core

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
BEGIN = "<!-- options: made by tools/config_table.py -->\n"
END = "<!-- end of options -->\n"


def word(value: object) -> str:
    """A value as YAML and the command line spell it."""
    words = {None: "not set", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    return f"`{value}`" if value != [] and value != {} else "none"


def default_text(option: dict[str, Any]) -> str:
    """The default, and what other profiles make of it."""
    text = word(option["default"])
    others = {
        p: getattr(DiffusionQuantConfig.from_profile(p), option["name"]) for p in DeploymentProfile
    }
    differing = [
        f"{profile} {word(value)}"
        for profile, value in others.items()
        if value != option["default"] and option["name"] != "deployment_profile"
    ]
    return f"{text} ({', '.join(differing)})" if differing else text


def row(option: dict[str, Any]) -> str:
    """One line of the table."""
    name = f"`{option['name']}`" + (f", `{option['alias']}`" if option["alias"] else "")
    path = f"<br>`{option['path']}`" if option["path"] else ""
    allowed = option["allowed"] or option["type"].removesuffix(" | None")
    flags = ", ".join(f"`{flag}`" for flag in option["flags"].split(","))
    meaning = option["doc"].replace("|", "\\|")
    cells = (name + path, default_text(option), allowed, flags, meaning)
    return f"| {' | '.join(cells)} |\n"


def table() -> Iterator[str]:
    """The lines of the table."""
    yield "| option | default | allowed | flag | meaning |\n"
    yield "|---|---|---|---|---|\n"
    yield from map(row, _core.config_options())


def updated(page: str) -> str:
    """The page with the table as it should be."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + "".join(table()) + "\n" + END + after


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
