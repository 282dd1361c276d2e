"""Findings: which features help, where, and by how much, from the numbers of a session."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from examples.evaluation.ladder import ladder
from examples.evaluation.outcome import Outcome
from examples.evaluation.session import Session

CLEAR = 2.0  # paired standard errors: less is noise
WORTH = 0.01  # relative change of the error: less is nothing


@dataclass(frozen=True)
class Effect:
    """What a feature does to the error of one subject in one setting.

    Attributes
    ----------
    feature, subject, setting : str
    change : float
        Of the error, relative to that without: -0.5 halves it.
    clear : bool
        Whether it is more than two paired standard errors.
    """

    feature: str
    subject: str
    setting: str
    change: float
    clear: bool

    @property
    def verdict(self) -> str:
        """Return "helps", "hurts" or "nothing"."""
        if not self.clear or abs(self.change) < WORTH:
            return "nothing"
        return "helps" if self.change < 0 else "hurts"


def effects(session: Session) -> Iterator[Effect]:
    """Yield the effects of all features, by feature, subject and setting."""
    for subject in session.subjects:
        for setting in session.settings:
            rows = {o.row: o for o in session.main(subject.name, setting.name)}
            for row in ladder(setting):
                if row.against:
                    yield _effect(row.feature, rows[row.name], rows[row.against])


def _effect(feature: str, having: Outcome, lacking: Outcome) -> Effect:
    difference = having.measured.per_sample - lacking.measured.per_sample
    standard_error = float(difference.std(ddof=1) / np.sqrt(len(difference)))
    return Effect(
        feature,
        having.subject,
        having.setting,
        having.measured.error / lacking.measured.error - 1,
        abs(float(difference.mean())) > CLEAR * standard_error,
    )


def in_words(feature: str, found: list[Effect]) -> str:
    """Return a sentence on one feature, of all its effects."""
    helps, hurts = (
        [effect for effect in found if effect.verdict == verdict] for verdict in ("helps", "hurts")
    )
    nothing = len(found) - len(helps) - len(hurts)
    parts = []
    if helps:
        parts.append(f"helps in {len(helps)} of {len(found)} ({_range(helps)})")
    if hurts:
        parts.append(f"hurts in {len(hurts)} of {len(found)} ({_range(hurts)})")
    if nothing:
        parts.append(f"changes nothing that is certain in {nothing} of {len(found)}")
    return f"**{feature[0].upper()}{feature[1:]}**: {', '.join(parts)}."


def _range(found: list[Effect]) -> str:
    least, most = sorted((min(e.change for e in found), max(e.change for e in found)), key=abs)
    if f"{least:+.0%}" == f"{most:+.0%}":
        return f"error {least:+.0%}"
    return f"error {least:+.0%} to {most:+.0%}"
