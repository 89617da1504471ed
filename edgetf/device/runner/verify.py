"""Proves on the spot that a deployed variant still does what was signed for: `python edgetf-runner.pyz verify BUNDLE`.

A bundle is a zip with `manifest.json`, the variant, and golden samples with their outputs; its comment, at the end, is
the digest of all bytes before it. Every file must have the digest that the manifest names, and the variant must give
the golden outputs, within the tolerance of each. That finds what accidents change; it is no protection against somebody
who makes a new bundle.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .interpreter import JobError
from .isolate import ChildError, Send
from .job import Job
from .run import run_job

BUNDLE_SCHEMA = 1
MANIFEST, SEAL_BYTES = "manifest.json", 64  # SHA-256 in hex


@dataclass(frozen=True)
class Proof:
    """What became of it: `problems` is empty when all is as it was; `errors` are the largest by output.

    `signed` is the verdict that it was signed with.
    """

    variant: str
    runtime: str
    n: int
    errors: dict[str, float]
    problems: list[str]
    signed: str = ""


def verify(bundle: Path, runtime: str, on_event: Send) -> Proof:
    """Check the files in `bundle` and run the variant on its golden samples. Raises JobError for what is no bundle."""
    with tempfile.TemporaryDirectory(prefix="edgetf-verify-") as temporary:
        folder = Path(temporary)
        manifest, problems = _unpack(bundle, folder)
        if problems:
            return Proof(str(manifest.get("variant", "")), "", 0, {}, problems)
        job = Job(
            str(folder / manifest["model"]),
            {name: str(folder / file) for name, file in manifest["inputs"].items()},
            manifest["signature"],
            runtime,
            timing=None,
        )
        try:
            measurement = run_job(job, folder / "out", on_event)
        except ChildError as error:
            return Proof(manifest["variant"], runtime, 0, {}, [f"it does not run: {error}"])
        ran = f"{measurement.runtime} {measurement.runtime_version}".strip()
        if measurement.samples is None:
            return Proof(manifest["variant"], ran, 0, {}, [f"it does not run: {measurement.error}"])
        found = {output.name: np.load(folder / "out" / output.file) for output in measurement.samples.outputs}
        errors, problems = _compare(manifest, folder, found)
        signed = str(manifest.get("provenance", {}).get("verdict") or "without a verdict")
        return Proof(manifest["variant"], ran, measurement.samples.n, errors, problems, signed)


def seal(content: bytes) -> bytes:
    """A zip whose comment is SEAL_BYTES long, with the digest of all before it as the comment."""
    return content[:-SEAL_BYTES] + hashlib.sha256(content[:-SEAL_BYTES]).hexdigest().encode()


def _unpack(bundle: Path, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The manifest, and what is not as it was made; all files lie in `folder` afterwards."""
    try:
        whole = bundle.read_bytes()
        if not zipfile.is_zipfile(bundle):
            raise JobError(f"{bundle} is not a bundle, or was cut short")
    except OSError as error:
        raise JobError(f"{bundle} is not a bundle: {error}") from error
    problems = [] if seal(whole) == whole else ["the bundle was changed since it was made"]
    try:
        manifest = _read_files(bundle, folder, problems)
    except (
        OSError,
        KeyError,
        ValueError,
        TypeError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if not problems:
            raise JobError(f"{bundle} is not a bundle: {error}") from error
        return {}, problems
    return manifest, problems


def _read_files(bundle: Path, folder: Path, problems: list[str]) -> dict[str, Any]:
    with zipfile.ZipFile(bundle) as archive:
        manifest: dict[str, Any] = json.loads(archive.read(MANIFEST))
        if manifest["schema"] != BUNDLE_SCHEMA:
            raise JobError(f"{bundle} has schema {manifest['schema']}, this runner reads {BUNDLE_SCHEMA}")
        named = [manifest["model"], *manifest["inputs"].values(), *(one["file"] for one in manifest["outputs"])]
        if not set(named) <= set(manifest["files"]) or "signature" not in manifest:
            raise ValueError("its manifest is not whole")
        for file, digest in manifest["files"].items():
            if Path(file).name != file:
                raise JobError(f"{bundle} names a file outside of itself: {file!r}")
            data = archive.read(file)
            if hashlib.sha256(data).hexdigest() != digest:
                problems.append(f"{file} was changed")
            (folder / file).write_bytes(data)
    return manifest


def _compare(
    manifest: dict[str, Any], folder: Path, found: dict[str, np.ndarray[Any, Any]]
) -> tuple[dict[str, float], list[str]]:
    errors, problems = {}, []
    for golden in manifest["outputs"]:
        name, expected = golden["name"], np.load(folder / golden["file"])
        if name not in found or found[name].shape != expected.shape:
            problems.append(f"output {name!r} is missing, or has another shape")
            continue
        error = float(np.max(np.abs(found[name].astype(np.float64) - expected.astype(np.float64)), initial=0.0))
        errors[name] = error
        if not error <= golden["tolerance"]:  # NaN is a problem too
            problems.append(f"output {name!r} is off by {error:.3g}, {golden['tolerance']:.3g} are allowed")
    return errors, problems
