"""docs/evaluation.md: tables, targets, findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev

from examples.evaluation.findings import effects, in_words
from examples.evaluation.ladder import WITH_MODEL, Setting, ladder
from examples.evaluation.machine import machine
from examples.evaluation.outcome import Outcome
from examples.evaluation.session import Session, best
from examples.evaluation.subject import Subject
from examples.evaluation.targets import targets

INTRODUCTION = """\
# Evaluation

What quantization costs the two example models, and what each feature of the quantizer is worth.
`make evaluate` measures all of this again and writes this page; `make evaluate-full` repeats every
row that has calibration data.

{about}
- Calibration data are {trajectories} trajectories from other noise and of other text, seed {seed}.
  All rows share noise, masks and texts.
- Bits per weight are stored ones: codes, scales, transforms and corrections of all quantized
  layers, among them the modulation of the DiT, which keeps 8 bits. `min_accuracy` is 0, so that no
  other layer gets more bits than asked for.
- Rows whose features found nothing to do give the same codes and parameters, and are measured once.
- "Against" is the error divided by that of the best row without calibration data. The best row with
  calibration data is bold.
"""


def write_report(session: Session, path: Path) -> None:
    """Write the page."""
    lines = [*_introduction(session), *_targets(session), *_findings(session), *_ladders(session)]
    lines += [
        *_other_data(session),
        *_gates(session),
        *_overheads(session),
        "## Machine",
        "",
        machine(),
        "",
    ]
    part = path.with_suffix(".part")
    part.write_text("\n".join(lines), encoding="utf-8")
    part.replace(path)


def _introduction(session: Session) -> Iterator[str]:
    about = "\n".join(
        f"- **{subject.name}**: {subject.about}\n  The error is the {subject.error_words}."
        for subject in session.subjects
    )
    scale = session.scale
    yield INTRODUCTION.format(about=about, trajectories=scale.trajectories, seed=scale.seeds[0])


def _targets(session: Session) -> Iterator[str]:
    found = list(targets(session))
    if not found:
        return
    yield "## Targets"
    yield ""
    yield (
        "Times: by which the error is smaller than that of the best row without calibration data "
        "at the\nsame stored bits per weight, which is interpolated between group sizes. dB: of "
        f"PSNR. Seeds of\ncalibration: {len(session.scale.seeds)}; the means count.\n"
    )
    yield from _table(
        ("model", "what", "wanted", "found", ""),
        (
            (
                target.subject,
                target.what,
                f"{target.wanted:.1f} {target.unit}",
                f"{target.found:.2f} {target.unit}",
                "reached" if target.reached else "**not reached**",
            )
            for target in found
        ),
    )


def _findings(session: Session) -> Iterator[str]:
    found = sorted(effects(session), key=lambda effect: effect.feature)
    yield "## What helps and what does not"
    yield ""
    yield (
        "Computed from the tables below: how the error changes by each feature, all else being the "
        "same.\nA change counts if it is more than 1 % and more than two standard errors of the "
        "paired differences.\n"
    )
    order = list(dict.fromkeys(row.feature for s in session.settings for row in ladder(s)))
    by_feature = {name: list(group) for name, group in groupby(found, lambda e: e.feature)}
    for feature in order:
        if feature in by_feature:
            yield f"- {in_words(feature, by_feature[feature])}"
    yield ""
    columns = [(s.name, t.name) for s in session.subjects for t in session.settings]
    cells = {(e.feature, e.subject, e.setting): e for e in found}
    yield from _table(
        ("feature", *(f"{subject} {setting}" for subject, setting in columns)),
        (
            (feature, *(_change(cells.get((feature, *column))) for column in columns))
            for feature in order
            if feature in by_feature
        ),
    )
    yield "Changes in brackets are within the noise.\n"


def _ladders(session: Session) -> Iterator[str]:
    yield "## All rows"
    yield ""
    yield "![The error of every row, as bars](evaluation/ladder.svg)\n"
    yield "![The error at each noise level](evaluation/by_step.svg)\n"
    for subject in session.subjects:
        for setting in session.settings:
            yield f"### {subject.name}, {setting.name}\n"
            yield from _ladder(session.main(subject.name, setting.name))


def _ladder(main: list[Outcome]) -> Iterator[str]:
    without = best(main, calibrated=False).measured.error
    psnr = any(outcome.measured.psnr_db is not None for outcome in main)
    yield from _table(
        ("row", "data", "error", "against", "PSNR dB" if psnr else "bits +", "bits/w", "seconds"),
        (
            (
                f"**{outcome.row}**" if outcome is best(main, calibrated=True) else outcome.row,
                "yes" if outcome.trajectories else "",
                f"{outcome.measured.error:.2e}",
                f"{outcome.measured.error / without:.2f}",
                _second_measure(outcome),
                f"{outcome.bits_per_weight:.3f}",
                f"{outcome.seconds:.1f}",
            )
            for outcome in main
        ),
    )


def _other_data(session: Session) -> Iterator[str]:
    scale = session.scale
    if len(scale.seeds) < 2:
        return
    yield "## Other calibration data"
    yield ""
    yield (
        f"Errors with {scale.trajectories} trajectories of {len(scale.seeds)} seeds, mean and "
        "standard deviation,\nand with more and fewer trajectories of the first seed; the best row "
        "without data, for comparison.\n"
    )
    counts = sorted({scale.trajectories, *scale.other_trajectories})
    for subject in session.subjects:
        rows = [r for setting in session.settings for r in _repeated(session, subject, setting)]
        yield f"### {subject.name}\n"
        psnr = any(outcome.measured.psnr_db is not None for outcome in session.outcomes)
        measure = ["PSNR dB"] if psnr and subject.name == "digits_dit" else []
        yield from _table(
            ("setting", "row", "error", *measure, *(f"{n} trajectories" for n in counts)),
            (
                (
                    row.setting,
                    row.row,
                    _spread([o.measured.error for o in session.over_seeds(row)], "{:.2e}"),
                    *(_psnr_spread(session, row) for _ in measure),
                    *(_error_of(session, row, count) for count in counts),
                )
                for row in rows
            ),
        )


def _repeated(session: Session, subject: Subject, setting: Setting) -> list[Outcome]:
    """Return the best row without data, and the rows that ran with several seeds."""
    main = session.main(subject.name, setting.name)
    repeated = [o for o in main if len(session.over_seeds(o)) > 1]
    return [best(main, calibrated=False), *repeated] if repeated else []


def _gates(session: Session) -> Iterator[str]:
    """Say what the model's own predictions decided."""
    judged = [o for o in session.outcomes if o.result.get("model_gate")]
    first = [o for o in judged if o in session.main(o.subject, o.setting)]
    if not first:
        return
    yield "## What the model decided"
    yield ""
    yield (
        f'In the row "{WITH_MODEL}" each feature is left out once, and stays out where the error '
        "on held-out\ncalibration trajectories falls. The errors are those, not those of the other "
        "tables.\n"
    )
    yield from _table(
        ("model", "setting", "step", "error before", "error after", "accepted"),
        (
            (
                outcome.subject,
                outcome.setting,
                step["step"],
                f"{step['error_before']:.2e}",
                f"{step['error_after']:.2e}",
                "yes" if step["accepted"] else "no",
            )
            for outcome in first
            for step in outcome.result["model_gate"]
        ),
    )


def _overheads(session: Session) -> Iterator[str]:
    if not session.overheads:
        return
    yield "## Time"
    yield ""
    yield "Seconds of quantizing at 4 bits in groups of 128, the least of three.\n"
    yield from _table(
        ("model", "what", "seconds", "compared with", "seconds", "ratio"),
        (
            (
                overhead.subject,
                overhead.feature,
                f"{overhead.seconds:.2f}",
                overhead.without,
                f"{overhead.seconds_without:.2f}",
                f"{overhead.ratio:.2f}",
            )
            for overhead in session.overheads
        ),
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    names = list(head)
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _change(effect: object) -> str:
    change = getattr(effect, "change", None)
    if change is None:
        return ""
    return f"{change:+.1%}" if getattr(effect, "clear", False) else f"({change:+.1%})"


def _second_measure(outcome: Outcome) -> str:
    found = outcome.measured
    if found.psnr_db is not None:
        return f"{found.psnr_db:.2f}"
    return "" if found.excess_bits is None else f"{found.excess_bits:.4f}"


def _spread(values: list[float], form: str) -> str:
    if not values:
        return ""
    middle = form.format(mean(values))
    return middle if len(values) < 2 else f"{middle} ± {form.format(stdev(values))}"


def _psnr_spread(session: Session, row: Outcome) -> str:
    found = [o.measured.psnr_db for o in session.over_seeds(row)]
    return _spread([db for db in found if db is not None], "{:.2f}")


def _error_of(session: Session, row: Outcome, count: int) -> str:
    seeds = (-1, session.scale.seeds[0])
    for outcome in session.same_row(row):
        if outcome.trajectories == count and outcome.seed in seeds:
            return f"{outcome.measured.error:.2e}"
    return ""
