"""`edgetf.explain`: the step that broke a variant, and the layers with the largest errors."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgetf.api.places import Variant, places_of
from edgetf.api.results import Bench, PinnedReference
from edgetf.api.samples import inputs_of_results, source_of_samples
from edgetf.api.verdicts import Explanation
from edgetf.benchmarks.diagnosis.ladder import climb, write_explanation
from edgetf.benchmarks.diagnosis.ladder import explain as find_all
from edgetf.benchmarks.diagnosis.layers import to_node_data
from edgetf.benchmarks.diagnosis.twins import LadderOptions
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.console.progress import progress
from edgetf.errors import EdgetfError
from edgetf.events import Note, OnEvent
from edgetf.files import write_whole

Place = str | os.PathLike[str]


def explain(
    bench: Bench | Place,
    *,
    variant: str,
    variants: Variant | Sequence[Variant],
    reference: PinnedReference | Place,
    samples: Any = None,
    keras: Place | None = None,
    layers: bool = True,
    node_data: Place | None = None,
    max_drop: float | None = None,
    no_wait: bool = False,
    trust: bool = False,
    on_event: OnEvent | None = None,
) -> Explanation:
    """Find the first step between TensorFlow and the device that broke a variant, as `edgetf explain` does.

    Parameters
    ----------
    bench
        What `edgetf.benchmark` returned, or its folder.
    variant
        The name of the variant.
    variants
        What `edgetf.convert` returned, or its folder.
    reference
        The reference of the benchmark.
    samples
        As for `edgetf.convert`; by default those of the reference.
    keras
        The Keras file that the SavedModel was exported from, to check the export too.
    layers
        Also measure each layer separately.
    node_data
        A file to write the layers to, for Model Explorer.
    max_drop
        Points of accuracy that may be lost, 1 by default.
    no_wait, trust, on_event
        As for `edgetf.benchmark` and `edgetf.convert`.

    Returns
    -------
    Explanation
        `ladder` has the steps (`broken` names the first that failed), `layers` the layers with the largest errors
        first.

    Raises
    ------
    EdgetfError
        If the variant, its file or its reference is missing or has changed.

    Examples
    --------
    >>> found = edgetf.explain(bench, variant="int8", variants=variants, reference=reference, max_drop=5.0)
    >>> [rung.name for rung in found.ladder.rungs]
    ['SavedModel to float32', 'float32 to int8']
    """
    place = _folder_of(bench)
    budgets = Budgets() if max_drop is None else replace(Budgets(), max_drop=max_drop)
    places = places_of(variants)
    compared = reference.folder if isinstance(reference, PinnedReference) else Path(reference)
    asked = LadderOptions(
        variant,
        places,
        compared,
        None if samples is None else source_of_samples(samples, inputs_of_results(compared, places)),
        None if keras is None else Path(keras),
        budgets,
        not no_wait,
        trust,
    )
    with progress("Explaining", on_event) as report:
        if layers or node_data is not None:
            ladder, found = find_all(place, asked, report)
        else:
            ladder, found = climb(place, asked, report), []
    if node_data is not None:
        write_whole(Path(node_data), json.dumps(to_node_data(found), indent=1).encode())
    try:
        write_explanation(place, ladder, found)
    except EdgetfError as error:  # only the report needs it
        report(Note(f"not stored for the report: {error.message}"))
    return Explanation(ladder, tuple(found))


def _folder_of(bench: Bench | Place) -> Path:
    if not isinstance(bench, Bench):
        return Path(bench)
    [folder] = bench.folders.values() if len(bench.folders) == 1 else [None]
    if folder is None:
        raise EdgetfError("this benchmark has several devices", f"give one: on({next(iter(bench.folders))!r})")
    return folder
