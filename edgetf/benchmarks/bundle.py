"""A bundle: all that is deployed and was signed for, in one file that a device can prove by itself.

A zip of the variant, golden samples and their outputs, `labels.txt`, and `manifest.json` with the digest of each,
tolerances, what is done before and after, the verdict and the provenance. `device.runner.verify` reads it.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetf import __version__, files
from edgetf.benchmarks.ladder import LadderOptions, find_twins, run_here
from edgetf.device.runner.verify import BUNDLE_SCHEMA, MANIFEST, SEAL_BYTES, seal
from edgetf.errors import EdgetfError
from edgetf.process import OnEvent
from edgetf.results import Result, Verdict

GOLDEN = 16
# of an output's range over the golden samples. Between runtimes int8 was seen to differ by a step, 0.4 % of the range;
# between processors float by 1e-6
_TOLERANCES = {"float32": 1e-4, "float16": 1e-3}
_TOLERANCE = 0.01


@dataclass(frozen=True)
class BundleOptions:
    """`asked` names the variant, its file and its reference; `labels` is a text file with a class a line; `before` and
    `after` say in words (or name a file that says) what is done to inputs and outputs; `unproven` allows what did not
    pass, `force` replaces a file."""

    asked: LadderOptions
    golden: int = GOLDEN
    labels: Path | None = None
    before: str = ""
    after: str = ""
    unproven: bool = False
    force: bool = False


def make_bundle(place: Path, out: Path, options: BundleOptions, on_event: OnEvent) -> dict[str, Any]:
    """Write the bundle of a variant of the benchmark at `place` to the file `out`; returns its manifest.

    Raises EdgetfError for a variant that did not pass (unless `unproven`), and what `ladder.climb` raises.
    """
    if out.exists() and not options.force:
        raise EdgetfError(f"{out} already exists", "give another file with -o, or --force to replace it")
    twins = find_twins(place, options.asked)
    result, target, samples = twins.result, twins.target, twins.samples
    if not options.unproven and (result.parity is None or result.parity.verdict is not Verdict.PASS):
        hint = "see why with: edgetf check; or --unproven to bundle it anyhow"
        raise EdgetfError(f"{result.variant} did not pass", hint)
    count = min(options.golden, len(samples)) // twins.batch * twins.batch or twins.batch
    content = {"model.tflite": target.path.read_bytes()}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        inputs = {}
        for k, (name, values) in enumerate(samples.inputs.items()):
            inputs[name] = str(work / f"input-{k}.npy")
            np.save(inputs[name], values[:count])
            content[f"input-{k}.npy"] = (work / f"input-{k}.npy").read_bytes()
        outputs = run_here(target, inputs, work / "out", on_event)
    listed = []
    for k, (name, values) in enumerate(sorted(outputs.items())):
        content[f"output-{k}.npy"] = _npy(values)
        listed.append({"name": name, "file": f"output-{k}.npy", "tolerance": _tolerance(result.scheme, values)})
    if options.labels is not None:
        content["labels.txt"] = _read(options.labels)
    manifest = {
        "schema": BUNDLE_SCHEMA,
        "variant": result.variant,
        "scheme": result.scheme,
        "signature": target.signature,
        "model": "model.tflite",
        "inputs": {name: f"input-{k}.npy" for k, name in enumerate(samples.inputs)},
        "outputs": listed,
        "labels": "labels.txt" if options.labels is not None else None,
        "preprocessing": _words(options.before),
        "postprocessing": _words(options.after),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in content.items()},
        "budgets": vars(options.asked.budgets),
        "provenance": _provenance(result, twins.reference.source.digest, samples.digest),
    }
    _write(out, content, json.dumps(manifest, indent=1).encode())
    return manifest


def _tolerance(scheme: str | None, values: Any) -> float:
    """A share of the range of the golden outputs, no less than two steps of a quantized one, or float's rounding."""
    found = np.unique(np.asarray(values, np.float64))
    share, exact = _TOLERANCES.get(scheme or "", _TOLERANCE), scheme in _TOLERANCES
    step = 0.0 if exact or len(found) < 2 else float(np.diff(found).min())
    return max(share * float(np.ptp(found)), 2.01 * step, 1e-6 * float(np.abs(found).max()), 1e-9)


def _provenance(result: Result, model: str, samples: str) -> dict[str, Any]:
    parity = result.parity
    return {
        "edgetf": __version__,
        "created": files.now(),
        "saved_model_sha256": model,
        "samples_sha256": samples,
        "variant_sha256": result.sha256,
        "device": result.device,
        "runtime": result.runtime,
        "verdict": parity.verdict.value if parity else None,
        "because": parity.reason if parity else "it was not compared",
        "median_ms": result.latency_ms.median if result.latency_ms else None,
    }


def _write(out: Path, content: dict[str, bytes], manifest: bytes) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, manifest)
        archive.comment = bytes(SEAL_BYTES)
        for name, data in content.items():
            archive.writestr(name, data)
    files.write_whole(out, seal(buffer.getvalue()))


def _npy(values: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def _words(given: str) -> str:
    """The words themselves, or those in the file that they name."""
    path = Path(given)
    try:
        return path.read_text() if given and len(given) < 200 and path.is_file() else given
    except (OSError, UnicodeDecodeError) as error:
        raise EdgetfError(f"cannot read {given}", "give a text file, or the words themselves") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EdgetfError(f"cannot read {path}: {error.strerror}", "give a text file with a class a line") from error
