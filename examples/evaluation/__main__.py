"""Evaluate the example models, print the tables, and write docs/evaluation.md and its plots."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

import torch

from examples.evaluation.digits import Digits
from examples.evaluation.ladder import settings
from examples.evaluation.plots import write_plots
from examples.evaluation.report import write_report
from examples.evaluation.session import Scale, Session
from examples.evaluation.subject import Subject
from examples.evaluation.targets import TARGETS
from examples.evaluation.text import Text

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Parse the command line and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="repeat every calibrated row")
    parser.add_argument("--work", type=Path, default=ROOT / "build/evaluation")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where to write")
    parser.add_argument("--only", default="", help="regular expression: settings to run")
    parser.add_argument("--subjects", nargs="*", default=["digits_dit", "byte_mdlm"])
    parser.add_argument("--trajectories", type=int, default=32, help="that calibrate")
    parser.add_argument("--once", action="store_true", help="no other seeds and trajectories")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: as it likes")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    scale = Scale(args.full, trajectories=args.trajectories)
    if args.once:
        scale = Scale(seeds=(0,), trajectories=args.trajectories, other_trajectories=())
    started = time.monotonic()
    args.work.mkdir(parents=True, exist_ok=True)
    subjects: list[Subject] = []
    if "digits_dit" in args.subjects:
        subjects.append(Digits(args.work))
    if "byte_mdlm" in args.subjects:
        subjects.append(Text(args.work))
    chosen = [setting for setting in settings() if re.search(args.only, setting.name)]
    session = Session(subjects, chosen, scale, args.work, TARGETS)
    session.run(lambda text: print(text, flush=True))
    args.docs.mkdir(parents=True, exist_ok=True)
    write_plots(session, args.docs / "evaluation")
    write_report(session, args.docs / "evaluation.md")
    print(f"\n{args.docs / 'evaluation.md'}, {(time.monotonic() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
