"""`edgetf.reference`: TensorFlow runs in a child process, so that its settings do not affect the caller's process."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgetf.api.cache import facts, folder_for, is_settled
from edgetf.api.child import run_reference
from edgetf.api.given import one_of
from edgetf.api.models import inputs_of, path_of_model
from edgetf.api.results import PinnedReference
from edgetf.api.samples import source_of_samples
from edgetf.benchmarks.reference.options import Hosts, Place, ReferenceOptions
from edgetf.console.progress import progress
from edgetf.conversion.origin import describe
from edgetf.errors import EdgetfError, nearest
from edgetf.events import OnEvent
from edgetf.results import LabelsAre, read_reference
from edgetf.texts import without_secrets

SERVING = "serving:"
PLACES = tuple(place.value for place in Place)


def reference(
    model: Any,
    samples: Any,
    out: str | os.PathLike[str] | None = None,
    *,
    on: str = "auto",
    signature: str | None = None,
    labels_are: str | None = None,
    allow_nan: bool = False,
    trust: bool = False,
    scheduler: str | None = None,
    certificates: str | os.PathLike[str] | None = None,
    mixed_hosts: bool = False,
    force: bool = False,
    on_event: OnEvent | None = None,
) -> PinnedReference:
    """Run a model in TensorFlow and store its outputs, as `edgetf reference` does.

    Parameters
    ----------
    model
        As for `edgetf.convert`.
    samples
        The samples to run, with labels if available: `(x, y)`, or any other form that `edgetf.convert` takes.
    out
        The folder for the results; by default one in the user's cache, the same for the same model and samples.
    on
        Where TensorFlow runs: "auto" (a GPU if available), "gpu", "cpu", or "serving:URL".
    signature
        The signature to run; by default `serving_default`, or the only one.
    labels_are
        "class" or "value": the meaning of labels that could be both.
    scheduler, certificates
        The address of a scheduler, such as "tls://lab:8786": all its workers that compute references share the samples,
        in ranges of whole batches. The folder of the certificates; by default that of the user's configuration.
    mixed_hosts
        Also use workers whose outputs differ from the first one's: the difference becomes part of the noise. By default
        they are refused, and the outputs are those that a single machine computes, bit by bit.
    allow_nan, trust, force, on_event
        As for `edgetf.convert`.

    Returns
    -------
    PinnedReference
        `outputs` by name, each with the samples along axis 0; `document` is `reference.json`.

    Raises
    ------
    EdgetfError
        If the model or the samples are unsuitable, a GPU or server is not available, or outputs are not finite.
    DeviceError
        If no worker of the scheduler is left that computes.

    Examples
    --------
    >>> reference = edgetf.reference(model, (x_test, y_test), "ref")
    >>> reference.outputs["output_0"].shape
    (200, 3)
    """
    url = on.removeprefix(SERVING) if on.startswith(SERVING) else None
    if url is None and on not in PLACES:
        raise EdgetfError(f"on={without_secrets(repr(on))} is not a place", nearest(on, [*PLACES, "serving:URL"]))
    meaning = None if labels_are is None else one_of(LabelsAre, labels_are, "labels_are")
    options = ReferenceOptions(Place.AUTO if url else Place(on), url, signature, allow_nan, force, trust, meaning)
    hosts = _hosts(scheduler, certificates, mixed_hosts, url is not None)
    path = path_of_model(model)
    source = source_of_samples(samples, inputs_of(model, path, signature, trust))
    known = facts(options, source=source, mixed_hosts=mixed_hosts)  # who computes does not matter otherwise
    folder = Path(out) if out is not None else folder_for("reference", describe(path).digest, known)
    if out is None and not is_settled(source):
        options = replace(options, force=True)
    elif out is None and not force and (folder / "reference.json").is_file():
        return PinnedReference(folder, read_reference(folder))
    with progress("Reference", on_event) as report:
        run_reference(path, source, folder, replace(options, hosts=hosts), report)
    return PinnedReference(folder, read_reference(folder))


def _hosts(
    scheduler: str | None, certificates: str | os.PathLike[str] | None, mixed: bool, is_served: bool
) -> Hosts | None:
    """The hosts that compute. Raises EdgetfError for arguments that mean nothing together."""
    if scheduler is None:
        if mixed or certificates is not None:
            raise EdgetfError("certificates and mixed hosts are for a scheduler", "give its address as well")
        return None
    if is_served:
        raise EdgetfError("TensorFlow Serving computes by itself, without a scheduler", "give one of the two")
    return Hosts(scheduler, None if certificates is None else str(Path(certificates).resolve()), mixed)
