"""Evaluate the example models, print the tables, and write docs/evaluation.md and its plots."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from examples.evaluation.plots import write_plots
from examples.evaluation.report import write_report
from examples.evaluation.side_by_side import SUBJECTS, new_session, side_by_side, tell

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Parse the command line and evaluate."""
    args = arguments()
    started = time.monotonic()
    args.work.mkdir(parents=True, exist_ok=True)
    outcomes = side_by_side(args)
    session = new_session(args, [SUBJECTS[name](args.work) for name in args.subjects])
    session.outcomes = outcomes
    session.measure_time(tell)
    args.docs.mkdir(parents=True, exist_ok=True)
    write_plots(session, args.docs / "evaluation")
    write_report(session, args.docs / "evaluation.md")
    tell(f"{args.docs / 'evaluation.md'}, {(time.monotonic() - started) / 60:.1f} minutes")


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="repeat and draw every calibrated row")
    parser.add_argument("--work", type=Path, default=ROOT / "build/evaluation")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where to write")
    parser.add_argument("--only", default="", help="regular expression: settings to run")
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--trajectories", type=int, default=32, help="that calibrate")
    parser.add_argument("--once", action="store_true", help="no other seeds and trajectories")
    return parser.parse_args()


if __name__ == "__main__":
    main()
