"""Runs both models at the same time, each in a process of its own."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
from concurrent.futures import ProcessPoolExecutor

import torch

from examples.evaluation.digits import Digits
from examples.evaluation.ladder import settings
from examples.evaluation.outcome import Outcome
from examples.evaluation.session import Scale, Session
from examples.evaluation.subject import Subject
from examples.evaluation.targets import TARGETS
from examples.evaluation.text import Text

SUBJECTS = {subject.name: subject for subject in (Digits, Text)}


def side_by_side(args: argparse.Namespace) -> list[Outcome]:
    """Return the outcomes of all subjects that the command line names.

    A process for each, since torch gains little by a second thread on models this small.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(args.subjects), context) as workers:
        runs = [workers.submit(outcomes_of, name, args) for name in args.subjects]
        return [outcome for run in runs for outcome in run.result()]


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
