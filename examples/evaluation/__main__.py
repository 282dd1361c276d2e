"""Evaluate the example models, print the tables, and write docs/evaluation.md and its plots."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from examples.evaluation.digits import Digits
from examples.evaluation.ladder import settings
from examples.evaluation.outcome import Outcome
from examples.evaluation.plots import write_plots
from examples.evaluation.report import write_report
from examples.evaluation.session import Scale, Session
from examples.evaluation.subject import Subject
from examples.evaluation.targets import TARGETS
from examples.evaluation.text import Text

ROOT = Path(__file__).resolve().parents[2]
SUBJECTS = {subject.name: subject for subject in (Digits, Text)}


def main() -> None:
    """Parse the command line and evaluate."""
    args = arguments()
    started = time.monotonic()
    args.work.mkdir(parents=True, exist_ok=True)
    # A process for each model: torch gains little by a second thread on models this small.
    workers = ProcessPoolExecutor(len(args.subjects), multiprocessing.get_context("spawn"))
    with workers:
        runs = [workers.submit(outcomes_of, name, args) for name in args.subjects]
        outcomes = [outcome for run in runs for outcome in run.result()]
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


def outcomes_of(name: str, args: argparse.Namespace) -> list[Outcome]:
    """Evaluate one subject, in a process of its own."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // len(args.subjects)))
    subject = SUBJECTS[name](args.work)
    session = new_session(args, [subject])
    session.run(subject, lambda text: tell(f"{name:<11}{text}"))
    return session.outcomes


def new_session(args: argparse.Namespace, subjects: list[Subject]) -> Session:
    """Return a session of the size that the command line asks for."""
    scale = Scale(args.full, trajectories=args.trajectories)
    if args.once:
        scale = Scale(seeds=(0,), trajectories=args.trajectories, other_trajectories=())
    chosen = [setting for setting in settings() if re.search(args.only, setting.name)]
    return Session(subjects, chosen, scale, args.work, TARGETS)


def tell(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
