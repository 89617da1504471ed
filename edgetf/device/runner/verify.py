"""Proves on the device that a deployed variant works as signed: `python edgetf-runner.pyz verify BUNDLE`.

A bundle is a zip with `manifest.json`, the variant, and golden samples with their outputs; its comment, at the end, is
the digest of all bytes before it. Every file must have the digest that the manifest names, and the variant must give
the golden outputs, within the tolerance of each. This detects accidental changes; it does not protect against somebody
who makes a new bundle.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .answers import line
from .interpreter import JobError
from .isolate import ChildError, Send
from .job import Job, check
from .manifest import MANIFEST, GoldenOutput, Manifest, parse_manifest
from .pixels import read_pixels
from .run import run_job

_LEAST_BYTES, _RATIO = 64 << 20, 100  # a bundle unpacks to no more than this, and so many times its size
_MOST_BYTES, _MOST_MANIFEST, _BLOCK = 1 << 34, 1 << 24, 1 << 20
SEAL_BYTES = 64  # SHA-256 in hex


@dataclass(frozen=True)
class Proof:
    """The result of a check: `problems` is empty if nothing has changed; `errors` are the largest by output.

    `signed` is the verdict that it was signed with.
    """

    variant: str
    runtime: str
    n: int
    errors: dict[str, float]
    problems: list[str]
    signed: str = ""


_FOLDER = "edgetf-verify-"


def _sweep() -> None:
    """Remove the files of killed processes of this user."""
    for left in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        pid = left.name[len(_FOLDER) :].split("-")[0]
        gone = pid.isdigit() and Path("/proc/self").exists() and not Path("/proc", pid).exists()
        with contextlib.suppress(FileNotFoundError):  # another one sweeps at the same time
            if gone and left.lstat().st_uid == os.getuid():
                shutil.rmtree(str(left), ignore_errors=True)


def verify(bundle: Path, runtime: str, on_event: Send) -> Proof:
    """Check the files in `bundle` and run the variant on its golden samples. Raises JobError if it is not a bundle."""
    _sweep()
    with tempfile.TemporaryDirectory(prefix=f"{_FOLDER}{os.getpid()}-") as temporary:
        folder = Path(temporary)
        manifest, problems = _unpack(bundle, folder)
        variant = "" if manifest is None else line(manifest.variant)
        if manifest is None or problems:
            return Proof(variant, "", 0, {}, problems)
        job = _job_of(manifest, folder, runtime)
        if _maps(manifest.pixels) != _maps(read_pixels(job.model)):
            return Proof(variant, "", 0, {}, ["the manifest maps pixels in another way than the variant"])
        try:
            measurement = run_job(job, folder / "out", on_event)
        except ChildError as error:
            return Proof(variant, runtime, 0, {}, [f"it does not run: {error}"])
        ran = f"{measurement.runtime} {measurement.runtime_version}".strip()
        if measurement.samples is None:
            return Proof(variant, ran, 0, {}, [f"it does not run: {measurement.error}"])
        listed = measurement.samples.outputs
        found = {output.name: np.load(folder / "out" / output.file) for output in listed}
        shapes = {output.name: np.load(folder / "out" / output.shapes) for output in listed if output.shapes}
        errors, problems = _compare(manifest.outputs, folder, found, shapes)
        signed = line(manifest.provenance.verdict or "without a verdict")
        return Proof(variant, ran, measurement.samples.n, errors, problems, signed)


def _job_of(manifest: Manifest, folder: Path, runtime: str) -> Job:
    return Job(
        str(folder / manifest.model),
        {name: str(folder / file) for name, file in manifest.inputs.items()},
        manifest.signature,
        manifest.unbatched_inputs,
        manifest.unbatched_outputs,
        runtime,
        timing=None,
    )


def _maps(known: dict[str, Any]) -> dict[str, Any]:
    """Maps of pixels as the runner computes with them, to compare."""
    plain = {name: one if isinstance(one, dict) else vars(one) for name, one in known.items()}
    return {name: [np.float32(one[part]).tolist() for part in ("mean", "std")] for name, one in plain.items()}


def seal(content: bytes) -> bytes:
    """A zip whose comment is SEAL_BYTES long, with the digest of all before it as the comment."""
    return content[:-SEAL_BYTES] + hashlib.sha256(content[:-SEAL_BYTES]).hexdigest().encode()


def _unpack(bundle: Path, folder: Path) -> tuple[Manifest | None, list[str]]:
    """The manifest (None if it cannot be read), and the changed files; all files are extracted to `folder`."""
    problems: list[str] = []
    try:
        with _open(bundle) as file:
            if not zipfile.is_zipfile(file):
                raise JobError(f"{bundle} is not a bundle, or was cut short")
            if not _is_sealed(file):
                problems.append("the bundle was changed since it was made")
            manifest = _read_files(bundle, file, folder, problems)
    except JobError:
        raise
    except Exception as error:  # of the system, zipfile, json and zlib, and of names that are none
        if not problems:
            reason = error.strerror if isinstance(error, OSError) else None
            raise JobError(f"{bundle} is not a bundle: {line(reason or str(error))}") from error
        return None, problems
    return manifest, [line(problem) for problem in problems]


@contextlib.contextmanager
def _open(bundle: Path) -> Iterator[BinaryIO]:
    """Open a plain file: a pipe or a device may have no end. Raises JobError for anything else, and OSError."""
    # O_NONBLOCK: a pipe without a writer is opened at once; it has no effect on a plain file
    with open(bundle, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_BYTES:
            raise JobError(f"{bundle} is not a bundle: it is not a plain file, or too large")
        yield file


def _is_sealed(file: BinaryIO) -> bool:
    """Whether the file is as `seal` made it."""
    digest, left = hashlib.sha256(), os.fstat(file.fileno()).st_size - SEAL_BYTES
    file.seek(0)
    while left > 0:
        block = file.read(min(left, _BLOCK))
        if not block:  # it is being shortened
            return False
        digest.update(block)
        left -= len(block)
    return file.read() == digest.hexdigest().encode()


def _read_files(bundle: Path, file: BinaryIO, folder: Path, problems: list[str]) -> Manifest:
    size = os.fstat(file.fileno()).st_size
    with zipfile.ZipFile(file) as archive:
        if sum(member.file_size for member in archive.infolist()) > _LEAST_BYTES + _RATIO * size:
            raise ValueError("it would unpack to far more than it has")
        if archive.getinfo(MANIFEST).file_size > _MOST_MANIFEST:
            raise ValueError("its manifest is too large")
        manifest = parse_manifest(archive.read(MANIFEST))
        check(_job_of(manifest, folder, "auto"))
        for name, digest in manifest.files.items():
            if Path(name).name != name:
                raise JobError(f"{bundle} names a file outside of itself: {name!r}")
            if _extract(archive, name, folder / name) != digest:
                problems.append(f"{name} was changed")
    return manifest


def _extract(archive: zipfile.ZipFile, name: str, place: Path) -> str:
    """Write a member to `place`; returns its SHA-256 in hex."""
    digest = hashlib.sha256()
    with archive.open(name) as member, place.open("wb") as out:
        while block := member.read(_BLOCK):
            digest.update(block)
            out.write(block)
    return digest.hexdigest()


def _compare(
    outputs: list[GoldenOutput], folder: Path, found: dict[str, np.ndarray[Any, Any]], shapes: dict[str, Any]
) -> tuple[dict[str, float], list[str]]:
    errors, problems = {}, []
    for golden in outputs:
        name, expected = golden.name, _load(folder / golden.file)
        if name not in found or found[name].shape != expected.shape:
            problems.append(f"output {name!r} is missing, or has another shape")
            continue
        known = _load(folder / golden.shapes) if golden.shapes else None
        if not np.array_equal(shapes.get(name, ()), () if known is None else known):
            problems.append(f"output {name!r} has another number of rows in some sample")
            continue
        error = float(np.max(np.abs(found[name].astype(np.float64) - expected.astype(np.float64)), initial=0.0))
        errors[name] = error
        if not error <= golden.tolerance:  # NaN is a problem too
            problems.append(f"output {name!r} is off by {error:.3g}, {golden.tolerance:.3g} are allowed")
    return errors, problems


def _load(file: Path) -> np.ndarray[Any, Any]:
    try:
        values: np.ndarray[Any, Any] = np.load(file, allow_pickle=False)
        if values.dtype.kind not in "biufc":
            raise ValueError(f"it holds {values.dtype}")
    except Exception as error:  # whatever numpy raises
        raise JobError(f"{file.name} in the bundle is not an array: {line(str(error))}") from error
    return values
