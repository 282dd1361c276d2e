"""The plots of docs/evaluation: errors by noise level, and the ladder as bars."""

# matplotlib is nothing but Any where its types are left out.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from examples.evaluation.ladder import DATA_FREE, DEFAULT
from examples.evaluation.session import Session, best

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
    rows, columns = len(session.subjects), len(session.settings)
    figure, panels = pyplot.subplots(
        rows, columns, figsize=(3.2 * columns, 2.6 * rows), squeeze=False, layout="constrained"
    )
    for line, subject in zip(panels, session.subjects, strict=True):
        for panel, setting in zip(line, session.settings, strict=True):
            main = session.main(subject.name, setting.name)
            names = [main[0].row, DATA_FREE, best(main, calibrated=True).row, DEFAULT]
            for outcome in main:
                if outcome.row in names:
                    panel.plot(subject.steps, outcome.measured.per_step, label=outcome.row)
            panel.invert_xaxis()
            panel.set(yscale="log", title=f"{subject.name}, {setting.name}")
            panel.set(xlabel=subject.step_words)
            panel.legend(fontsize=6)
        line[0].set_ylabel("error")
    return figure


def _ladder(session: Session) -> Any:
    """Draw the errors of all rows as bars; a panel each subject and setting."""
    rows, columns = len(session.subjects), len(session.settings)
    longest = max(
        len(session.main(subject.name, setting.name))
        for subject in session.subjects
        for setting in session.settings
    )
    figure, panels = pyplot.subplots(
        rows,
        columns,
        figsize=(3.6 * columns, (0.9 + 0.17 * longest) * rows),
        squeeze=False,
        layout="constrained",
    )
    for line, subject in zip(panels, session.subjects, strict=True):
        for panel, setting in zip(line, session.settings, strict=True):
            main = session.main(subject.name, setting.name)
            places = np.arange(len(main))
            colours = ["C0" if outcome.trajectories else "C7" for outcome in main]
            panel.barh(places, [outcome.measured.error for outcome in main], color=colours)
            panel.set_yticks(places, [outcome.row for outcome in main])
            panel.invert_yaxis()
            panel.set(xscale="log", title=f"{subject.name}, {setting.name}", xlabel="error")
    return figure


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
