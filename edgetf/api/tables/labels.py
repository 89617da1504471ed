"""Labels that are not used, as sentences."""

from __future__ import annotations

from collections.abc import Iterable

from edgetf.results import LabelUse


def unused_labels(uses: Iterable[tuple[str, LabelUse, str]]) -> list[str]:
    """A sentence on all given labels that are not used, for each reason; `uses` are outputs, uses and reasons."""
    found: dict[str, list[str]] = {}
    for output, use, reason in uses:
        if use in (LabelUse.IGNORED, LabelUse.UNFIT):
            found.setdefault(reason, []).append(output)
    return [f"labels of {', '.join(outputs)} are not used: {reason}" for reason, outputs in found.items()]
