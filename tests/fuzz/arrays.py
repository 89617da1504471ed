"""Samples and outputs: arrays, images, records."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from edgetf.results import TensorSpec
from tests.fuzz.core import Format, Made, edgetf
from tests.fuzz.mutate import mutate_bytes, mutate_json, mutate_npy, mutate_records, mutate_zip

_IMAGE = TensorSpec("image", (None, 4, 4, 1), "float32")


def formats(made: Made) -> list[Format]:
    """Those of this module."""
    records = _records()
    npz, timings = tuple(_npz(kind) for kind in (np.savez, np.savez_compressed)), io.BytesIO()
    whole, waited = {"invoke_ns": np.arange(9) + 5, "end_to_end_ns": np.arange(9) + 7}, np.arange(9)
    np.savez(timings, **whole, invoke_waited_ns=waited, end_to_end_waited_ns=waited, warmup_ns=np.arange(2))
    inner = mutate_zip({".npy": mutate_npy})
    outputs = npy_bytes(np.ones((12, 3), np.float32)), npy_bytes(np.full((12, 1), 3))
    images = tuple(_image(kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "PPM"))
    return [
        Format("npz", npz, inner, partial(use_npz, made)),
        Format("npy", outputs, mutate_npy, partial(use_npy, made)),
        Format("timings.npz", (timings.getvalue(),), inner, partial(use_timings, made)),
        Format("images", images, mutate_bytes, partial(use_images, made)),
        Format("tfrecord", (records[0],), mutate_records, partial(use_records, records), slow=True),
        Format("tfrecord.json", (records[1],), mutate_json, partial(use_side, records), slow=True),
    ]


def use_npz(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.samples import load_samples

    (folder / "s.npz").write_bytes(content)
    if chance.random() < 0.5:
        edgetf("inspect", folder / "s.npz")
    samples = load_samples(folder / "s.npz", [_IMAGE], allow_nan=chance.random() < 0.5)
    samples.take(3)
    samples.feed(0, 1)


def use_npy(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.benchmarks.rows import load_passes, together
    from edgetf.device.runner.job import Output, Pass

    (folder / "o.npy").write_bytes(content)
    (folder / "sound.npy").write_bytes(npy_bytes(np.full((12, 1), 3)))
    shapes = chance.choice([None, "o.npy", "sound.npy"])
    done = Pass(12, 1, 1.0, [Output("o", chance.choice(["o.npy", "sound.npy"]), shapes)])
    found = load_passes([(done, folder)] * chance.choice([1, 2]))
    together(found, found)


def use_images(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.samples import load_samples

    (folder / "f" / "cat").mkdir(parents=True)
    (folder / "f" / "cat" / f"a.{chance.choice(['png', 'jpg', 'gif', 'webp', 'bmp', 'ppm'])}").write_bytes(content)
    load_samples(f"folder:{folder / 'f'}?scale=1/255", [_IMAGE])


def use_timings(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.benchmarks.timing.rounds import load_timings
    from edgetf.benchmarks.timing.times import summarize
    from edgetf.device.runner.job import Measurement

    (folder / "t.npz").write_bytes(content)
    measurement = Measurement(3, "", "", "", "", {}, {}, {}, 1, timings="t.npz")
    times = load_timings(measurement, folder)
    if times:
        summarize([times["invoke_ns"]])


def use_records(records: tuple[bytes, bytes], chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.samples import load_samples

    (folder / "s.tfrecord").write_bytes(content)
    if side := chance.random() < 0.3:
        (folder / "s.tfrecord.json").write_bytes(records[1])
    named = "" if side else chance.choice(["", "?labels=labels", "?image=labels"])
    load_samples(f"{folder / 's.tfrecord'}{named}", [_IMAGE])


def use_side(records: tuple[bytes, bytes], chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.samples import load_samples

    (folder / "s.tfrecord").write_bytes(records[0])
    (folder / "s.tfrecord.json").write_bytes(content)
    load_samples(folder / "s.tfrecord", [_IMAGE])


def _npz(save: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    images = np.random.default_rng(0).normal(size=(12, 4, 4, 1)).astype(np.float32)
    save(buffer, image=images, labels=np.arange(12) % 3)
    return buffer.getvalue()


def npy_bytes(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _image(kind: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 255, (9, 7, 3)).astype(np.uint8)
    Image.fromarray(values).save(buffer, kind)
    return buffer.getvalue()


def _records() -> tuple[bytes, bytes]:
    """A TFRecord file and its document."""
    from edgetf.samples import write_arrays

    images = np.random.default_rng(0).normal(size=(5, 4, 4, 1)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "s.tfrecord")
        write_arrays(out, {"image": images, "labels": np.arange(5)}, 1, False)
        return out.read_bytes(), Path(folder, "s.tfrecord.json").read_bytes()
