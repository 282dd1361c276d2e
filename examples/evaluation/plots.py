"""The plots of docs/evaluation: errors by noise level, and the ladder as bars."""

# matplotlib is nothing but Any where its types are left out.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from examples.evaluation.ladder import DATA_FREE, DEFAULT, Setting, ladder
from examples.evaluation.session import Session, best
from examples.evaluation.subject import Subject

matplotlib.use("svg")

from matplotlib import pyplot

# The same bytes for the same numbers.
STYLE = {"svg.hashsalt": "evaluation", "svg.fonttype": "none", "font.size": 8, "axes.grid": True}


def write_plots(session: Session, folder: Path) -> None:
    """Write by_step.svg and ladder.svg into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with pyplot.rc_context(STYLE):
        _save(_by_step(session), folder / "by_step.svg")
        _save(_ladder(session), folder / "ladder.svg")


def _by_step(session: Session) -> Any:
    """Draw the errors of the main rows over the noise level; a panel each subject and setting."""
    figure, panels = _panels(session, height=2.4)
    for panel, subject, setting in panels:
        main = session.main(subject.name, setting.name)
        names = [main[0].row, DATA_FREE, best(main, calibrated=True).row, DEFAULT]
        for outcome in main:
            if outcome.row in names:
                panel.plot(subject.steps, outcome.measured.per_step, label=outcome.row)
        panel.invert_xaxis()
        panel.set(yscale="log", xlabel=subject.step_words, ylabel="error")
        panel.legend(fontsize=6)
    return figure


def _ladder(session: Session) -> Any:
    """Draw the errors of all rows as bars; a panel each subject and setting."""
    longest = max(len(ladder(setting)) for setting in session.settings)
    figure, panels = _panels(session, height=0.9 + 0.15 * longest)
    for panel, subject, setting in panels:
        main = session.main(subject.name, setting.name)
        places = np.arange(len(main))
        colours = ["C0" if outcome.trajectories else "C7" for outcome in main]
        panel.barh(places, [outcome.measured.error for outcome in main], color=colours)
        panel.set_yticks(places, [outcome.row for outcome in main])
        panel.invert_yaxis()
        panel.set(xscale="log", xlabel="error")
        panel.tick_params(axis="x", which="minor", labelsize=5)
    return figure


def _panels(session: Session, height: float) -> tuple[Any, list[tuple[Any, Subject, Setting]]]:
    """Return a figure and its panels: at most three in a row, each subject in rows of its own."""
    columns = min(len(session.settings), 3)
    rows = -(-len(session.settings) // columns)
    figure, grid = pyplot.subplots(
        rows * len(session.subjects),
        columns,
        figsize=(3.6 * columns, height * rows * len(session.subjects)),
        squeeze=False,
        layout="constrained",
    )
    panels = []
    for i, subject in enumerate(session.subjects):
        free = list(grid[i * rows : (i + 1) * rows].flat)
        for panel, setting in zip(free, session.settings, strict=False):
            panel.set_title(f"{subject.name}, {setting.name}")
            panels.append((panel, subject, setting))
        for panel in free[len(session.settings) :]:
            panel.set_axis_off()
    return figure, panels


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
