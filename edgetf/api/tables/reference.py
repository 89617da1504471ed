"""A reference as lines."""

from __future__ import annotations

from collections.abc import Sequence

from edgetf.benchmarks.report.words import unused_labels
from edgetf.console.printing import escape, print_lines
from edgetf.results import LabelScore, LabelUse, Reference


def show_reference(made: Reference) -> None:
    """Print where TensorFlow ran, its latency, and its noise."""
    ways = "".join(
        f"; {one.batch} at once{', compiled' if one.compiled else ''} {one.latency_ms.median:.3g} ms"
        for one in made.latencies
    )
    noise = [f"{one.way} {max(one.max_abs.values()):.2g}" for one in made.noise if one.max_abs]
    failed = [f"{one.way}: not measured, {one.why_not}" for one in made.noise if one.why_not]
    print_lines(*_warnings(made))
    print_lines(
        *_label_lines(made.labels),
        f"[bold]{escape(made.device.sentence)}[/]",
        f"{made.samples.n} samples; {made.latency_ms.median:.3g} ms for one alone{ways}",
        f"TensorFlow's own noise: {escape('; '.join([*noise, *failed]))}",
        *(f"[yellow]export:[/] {escape(note)}" for note in (made.source.origin.notes if made.source.origin else ())),
    )


def _label_lines(scores: Sequence[LabelScore]) -> list[str]:
    """The model's own score on the labels; a warning if it is no better than a constant answer; what is not used."""
    lines = []
    for score in scores:
        reached, chance = score.reached or 0.0, score.chance or 0.0
        if score.use is LabelUse.UNFIT:
            lines.append(f"[bold yellow]warning:[/] {escape(score.reason)}.")
            lines.append("Check that samples are scaled and ordered as in training, and that the labels are right.")
        elif score.use is LabelUse.VALUE:
            error = f"mean absolute error {reached:.3g}; always answering the median would have {chance:.3g}"
            lines.append(f"On the labels, {escape(score.output)}: {error}")
        elif score.use in (LabelUse.CLASS, LabelUse.POSITIONS):
            of = " of positions" if score.use is LabelUse.POSITIONS else ""
            if reached <= chance:
                lines.append(
                    "[bold yellow]warning:[/] the model is no better than always answering the most common label."
                )
            right = f"right on {reached:.2%}{of}; always answering the most common label would be right on {chance:.2%}"
            lines.append(f"On the labels, {escape(score.output)}: {right}")
    ignored = [(one.output, one.use, one.reason) for one in scores if one.use is LabelUse.IGNORED]
    return [*lines, *(f"[yellow]warning:[/] {escape(unused)}" for unused in unused_labels(ignored))]


def _warnings(made: Reference) -> list[str]:
    """Warnings about outputs that cannot be compared, or were computed one sample at a time."""
    lines = []
    if made.random_outputs:
        names = escape(", ".join(made.random_outputs))
        lines.append(f"[bold red]NOT COMPARABLE:[/] {names}: the same samples have other values in a second run.")
        lines.append("The model is random (a sampling layer, active dropout), or keeps state between calls.")
        lines.append(
            "Export it for inference: call it with training=False, and return the mean instead of a sampled value."
        )
    if made.batch_outputs:
        names = escape(", ".join(made.batch_outputs))
        lines.append(f"[bold yellow]batch-dependent:[/] {names}: the other samples of a batch change the values.")
        lines.append(f"It was computed {made.batch} at a time, as by variants, so that they can be compared with it.")
        lines.append("If this is not intended (BatchNorm in training mode), export the model with training=False.")
    if noisy := [one for one in made.outputs if one.name not in made.random_outputs and made.is_noisy(one.name)]:
        names = escape(", ".join(f"{one.name} by {made.floor(one.name):.2g} of {one.spread:.2g}" for one in noisy))
        lines.append(f"[bold yellow]noisy:[/] TensorFlow differs from itself, {names}: too much for a tolerance.")
        lines.append(
            "The model may be random or keep state, or it computes something else in batches, alone or compiled."
        )
    return lines
