"""A bundle: a variant and its evidence in one file that a device can verify without edgetf.

It is a zip file with the variant, golden samples and their outputs, `labels.txt`, and `manifest.json`. The manifest has
digests, tolerances, descriptions of pre- and postprocessing, the verdict and the provenance. `device.runner`
reads it.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetf import __version__, files
from edgetf.benchmarks.again import refuse_other_answers, refuse_other_figures
from edgetf.benchmarks.diagnosis.twins import LadderOptions, Twins, find_twins, run_here
from edgetf.benchmarks.judging.check import Checked, check_one
from edgetf.benchmarks.judging.consistent import refuse_other_noise
from edgetf.benchmarks.judging.verdict import worst
from edgetf.benchmarks.rows import Outputs
from edgetf.benchmarks.timing.fixed import copy_private, read_same
from edgetf.defaults import GOLDEN
from edgetf.device.runner.manifest import BUNDLE_SCHEMA, MANIFEST, GoldenOutput, Manifest, Provenance
from edgetf.device.runner.pixels import as_pixels
from edgetf.device.runner.verify import SEAL_BYTES, seal
from edgetf.errors import EdgetfError, MissingExtraError
from edgetf.events import Note, OnEvent
from edgetf.flatbuffer import pixel_maps, unpack
from edgetf.owned import scratch
from edgetf.pixels import PixelMap
from edgetf.results import Result, Verdict, read_benchmark
from edgetf.samples.inputs import write_inputs
from edgetf.schemes import SCHEMES
from edgetf.targets.c_array import CArray
from edgetf.targets.fits import MICRO
from edgetf.targets.micro import fit_micro

_MODEL, _LABELS = "model.tflite", "labels.txt"
_LONGEST_NAME = 200  # characters of what may name a file
_LONGEST_TEXT = 16 << 20  # bytes of labels, and of descriptions
# share of an output's range over the golden samples. Between runtimes, int8 was observed to differ by one step, 0.4 %
# of the range; between processors, float by 1e-6
_GOLDEN_SHARE = 0.01  # the tolerance of outputs with steps
_ARENA = "arena: {} bytes, measured on a 64-bit host"


@dataclass(frozen=True)
class BundleOptions:
    """`asked` names the variant, its file and its reference; `labels` is a text file with one class per line; `before`
    and `after` describe the processing of inputs and outputs (or name a file that does); `c_array` is a C++ source to
    write the variant to; `unproven` allows a variant that did not pass, or that microcontrollers do not run; `force`
    replaces a file."""

    asked: LadderOptions
    golden: int = GOLDEN
    labels: Path | None = None
    before: str = ""
    after: str = ""
    c_array: Path | None = None
    unproven: bool = False
    force: bool = False


def make_bundle(place: Path, out: Path, options: BundleOptions, on_event: OnEvent) -> Manifest:
    """Write the bundle of a variant of the benchmark at `place` to the file `out`; returns its manifest.

    Raises EdgetfError for a variant that did not pass or, with a C array, that microcontrollers do not run (unless
    `unproven`), and the errors of `ladder.climb`.
    """
    files.refuse_output(out, options.force)
    array = None if options.c_array is None else CArray.at(options.c_array)
    if array is not None:
        array.refuse_output(options.force)
    twins = find_twins(place, options.asked)
    result, samples = twins.result, twins.samples
    checked = check_one(result, options.asked.budgets, False, compared=True)
    stored = None if options.unproven else _refuse_unproven(place, twins, options.asked, checked)
    count = min(options.golden, len(samples)) // twins.batch * twins.batch or twins.batch
    with scratch() as work:
        [target] = copy_private([twins.target], work)
        assert target.private is not None
        content = {_MODEL: read_same(target.private, result.sha256)}
        on_micro = [] if array is None else _on_micro(result, target.private, options.unproven)
        golden_inputs = as_pixels(content[_MODEL], {name: values[:count] for name, values in samples.inputs.items()})
        inputs = write_inputs(golden_inputs, work)
        content |= {Path(file).name: Path(file).read_bytes() for file in inputs.values()}
        unbatched = frozenset(one.name for one in twins.reference.outputs if not one.batched)
        outputs = run_here(target, inputs, (samples.unbatched, unbatched), work / "out", on_event, options.asked.wait)
    tolerances = {name: _tolerance(result.scheme, values) for name, values in outputs.values.items()}
    if stored is not None:
        refuse_other_answers(result, stored, outputs, tolerances)
    golden, arrays = _golden_outputs(outputs, tolerances)
    content |= arrays
    if options.labels is not None:
        content[_LABELS] = files.read_bytes(options.labels, "give a text file with one class per line", _LONGEST_TEXT)
    maps = pixel_maps(unpack(content[_MODEL])[0])
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    manifest = Manifest(
        schema=BUNDLE_SCHEMA,
        variant=result.variant,
        scheme=result.scheme,
        signature=target.signature,
        model=_MODEL,
        inputs={name: Path(file).name for name, file in inputs.items()},
        outputs=golden,
        unbatched_inputs=sorted(samples.unbatched),
        unbatched_outputs=sorted(unbatched),
        labels=_LABELS if options.labels is not None else None,
        preprocessing=_words(options.before) or _no_preprocessing(maps),
        postprocessing=_words(options.after),
        files=digests,
        budgets=vars(options.asked.budgets),
        provenance=_provenance(checked, result, digests[_MODEL], twins),
        pixels={name: {"mean": list(one.mean), "std": list(one.std)} for name, one in maps.items()},
    )
    _write(out, content, manifest)
    if array is not None:
        remarks = [*_remarks(manifest, out), *on_micro, *filter(None, [_no_preprocessing(maps)])]
        array.write(content[_MODEL], remarks)
        for remark in on_micro[1:]:
            on_event(Note(f"{array.source}: {remark}"))
    return manifest


def _remarks(manifest: Manifest, bundle: Path) -> list[str]:
    """Where a C array comes from, as lines of a comment."""
    signed = manifest.provenance
    return [
        f"{manifest.variant}, {signed.verdict}: {signed.because}",
        f"measured on {signed.device} with {signed.runtime}; edgetf {signed.edgetf}, {signed.created}, {bundle.name}",
    ]


def _on_micro(result: Result, variant: Path, unproven: bool) -> list[str]:
    """The arena of a variant on microcontrollers, and what was not proven for these, as lines of a comment.

    A benchmark on another device proves neither: it has other kernels, and more of them. Raises EdgetfError if
    tflite-micro is installed and refuses the variant, unless `unproven`.
    """
    if result.arena_bytes is not None:
        return [_ARENA.format(result.arena_bytes)]
    try:
        fit = fit_micro(variant)
    except MissingExtraError as error:
        return ["arena: unknown", f"whether microcontrollers run it is unknown: {error.message} ({error.hint})"]
    if fit.fits:
        compared = f"its outputs were compared on {result.device}, not on microcontrollers: benchmark it on {MICRO}"
        return [_ARENA.format(fit.ram_bytes), compared]
    if not unproven:
        hint = f"see which run there: edgetf inspect OUT --for {MICRO}; or --unproven to write it anyhow"
        raise EdgetfError(f"{result.variant} does not run on microcontrollers: {fit.reason}", hint)
    return ["arena: none", f"{fit.tool} refuses it: {fit.reason}"]


def _no_preprocessing(maps: Mapping[str, PixelMap]) -> str:
    """What a program gives to inputs that take pixels; empty if there are none."""
    parts = [f"{name} takes uint8 pixels as they are: the model gets {one.describe()}" for name, one in maps.items()]
    return "; ".join(parts)


def _golden_outputs(outputs: Outputs, tolerances: dict[str, float]) -> tuple[list[GoldenOutput], dict[str, bytes]]:
    """The outputs as the manifest lists them, and their files by name."""
    listed, content = [], {}
    for k, name in enumerate(sorted(outputs.values)):
        file, shapes, known = f"output-{k}.npy", None, outputs.shapes.get(name)
        content[file] = _npy(outputs.values[name])
        if known is not None:
            shapes = f"output-{k}-shapes.npy"
            content[shapes] = _npy(known)
        listed.append(GoldenOutput(name, file, shapes, tolerances[name]))
    return listed, content


def _refuse_unproven(place: Path, twins: Twins, asked: LadderOptions, checked: Checked) -> Outputs:
    """The measured outputs of the variant. Raises EdgetfError if it does not pass.

    `checked` is the verdict by the figures of `benchmark.json`. They must follow from the stored outputs and the
    benchmark's reference.
    """
    result, hint = twins.result, "see why with: edgetf check; or --unproven to bundle it anyhow"
    if checked.verdict is not Verdict.PASS:
        reasons = [judged.reason for judged in checked.parts.values() if judged.verdict is not Verdict.PASS]
        raise EdgetfError(f"{result.variant} did not pass: {'; '.join(reasons)}", hint)
    document = read_benchmark(place)
    refuse_other_noise(document)
    known, given = document.reference, twins.reference
    if known is None or (known.outputs, known.noise) != (given.outputs, given.noise):
        message = f"{asked.reference} is not the reference that {place} was compared with: other outputs, or noise"
        raise EdgetfError(message, "benchmark again")
    return refuse_other_figures(twins, place if place.is_dir() else place.parent, asked.reference)


def _tolerance(scheme: str | None, values: Any) -> float:
    """A share of the range of the golden outputs; at least two quantization steps, or float's rounding."""
    found = np.unique(np.asarray(values, np.float64))
    share = SCHEMES[scheme].golden_share if scheme in SCHEMES else None
    step = 0.0 if share or len(found) < 2 else float(np.diff(found).min())
    return max((share or _GOLDEN_SHARE) * float(np.ptp(found)), 2.01 * step, 1e-6 * float(np.abs(found).max()), 1e-9)


def _provenance(checked: Checked, result: Result, variant: str, twins: Twins) -> Provenance:
    return Provenance(
        edgetf=__version__,
        created=files.now(),
        saved_model_sha256=twins.reference.source.digest,
        samples_sha256=twins.samples.digest,
        variant_sha256=variant,
        device=result.device,
        runtime=result.runtime,
        verdict=checked.verdict.value,
        because=worst(list(checked.parts.values())).reason,
        median_ms=result.latency_ms.median if result.latency_ms else None,
    )


def _write(out: Path, content: dict[str, bytes], manifest: Manifest) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, manifest.to_json())
        archive.comment = bytes(SEAL_BYTES)
        for name, data in content.items():
            archive.writestr(name, data)
    files.write_whole(out, seal(buffer.getvalue()))


def _npy(values: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def _words(given: str) -> str:
    """The given text, or the content of the file that it names."""
    if not 0 < len(given) < _LONGEST_NAME or not _is_file(Path(given)):
        return given
    return files.read_text(Path(given), "give a text file, or the text itself", _LONGEST_TEXT)


def _is_file(path: Path) -> bool:
    """Whether there is a file, or anything that is none and no folder either: reading that is refused."""
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):  # a text that is no path
        return False
