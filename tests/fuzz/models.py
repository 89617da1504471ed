"""Models: variants, Keras files, SavedModels with their variables."""

from __future__ import annotations

import io
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random

import numpy as np

from edgetf import files
from tests.fuzz.core import KEPT, Format, Made, edgetf
from tests.fuzz.mutate import mutate_bytes, mutate_json, mutate_zip


def formats(made: Made) -> list[Format]:
    """Those of this module."""
    variants = tuple((made.converted / f"{name}.tflite").read_bytes() for name in KEPT)
    keras = made.keras_file.read_bytes()
    graph = (made.saved_model / "saved_model.pb").read_bytes()
    inner = mutate_zip({".json": mutate_json})
    return [
        Format("tflite", variants, mutate_bytes, partial(use_tflite, made)),
        Format("factors", (b'[[[0, 1], "/QADCAD4CAE="]]',), mutate_json, partial(use_factors, made)),
        Format("pixels", (b'{"image": {"mean": [127.5], "std": [50.0]}}',), mutate_json, partial(use_pixels, made)),
        Format("keras", (keras,), inner, partial(use_keras, ".keras"), in_child=True),
        Format("h5", (_h5(keras),), mutate_bytes, partial(use_keras, ".h5"), in_child=True),
        Format("saved_model.pb", (graph,), mutate_bytes, partial(use_saved_model, made), slow=True, in_child=True),
        Format("variables", (graph,), _as_it_is, partial(use_variables, made), slow=True, in_child=True),
    ]


def _as_it_is(chance: Random, content: bytes) -> bytes:
    """The files next to it are damaged."""
    return content


def use_tflite(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    (folder / "v.tflite").write_bytes(content)
    edgetf("inspect", folder / "v.tflite", *chance.choice([[], ["--json"]]))


def use_pixels(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    """Metadata of a variant that takes pixels."""
    from edgetf.conversion.pixels import fold_pixels
    from edgetf.device.runner.interpreter import JobError
    from edgetf.device.runner.pixels import as_pixels
    from edgetf.flatbuffer import pack, unpack
    from edgetf.pixels import PixelMap

    float32 = (made.converted / "float32.tflite").read_bytes()
    model, _ = unpack(fold_pixels(float32, {"image": PixelMap((127.5,), (50.0,))}))
    model.buffers[model.metadata[-1].buffer].data = np.frombuffer(content, np.uint8)
    with suppress(JobError):
        as_pixels(pack(model), {"image": np.load(made.samples)["image"][:1]})
    use_tflite(made, chance, folder, pack(model))


def use_factors(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    """Metadata of an equalized variant."""
    from edgetf.benchmarks.diagnosis.layers import blame
    from edgetf.conversion.factors import with_factors
    from edgetf.conversion.splice import Mixture, Splicer
    from edgetf.flatbuffer import pack, unpack

    float32 = made.converted / "float32.tflite"
    model, _ = unpack(with_factors((made.converted / "int8.tflite").read_bytes(), {0: (0,)}))
    model.buffers[model.metadata[-1].buffer].data = np.frombuffer(content, np.uint8)
    (folder / "int8.tflite").write_bytes(pack(model))
    splicer = Splicer({"float32": float32.read_bytes(), "int8": pack(model)})
    if not splicer.left_out:
        splicer.splice(Mixture(("int8",) * len(splicer.operations)))
    if not chance.randrange(8):  # it is slow
        blame(float32, folder / "int8.tflite", {"image": np.load(made.samples)["image"][:1]})


def use_saved_model(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.conversion.effects import find_effects
    from edgetf.conversion.savedmodel import read_source

    for entry in made.saved_model.iterdir():
        if entry.name != "saved_model.pb":
            (folder / entry.name).symlink_to(entry)
    (folder / "saved_model.pb").write_bytes(content)
    files.to_text(read_source(folder, None))
    find_effects(folder)


def use_variables(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.conversion.savedmodel import read_source

    (folder / "variables").mkdir()
    for entry in (made.saved_model / "variables").iterdir():
        (folder / "variables" / entry.name).symlink_to(entry)
    name = chance.choice(sorted(entry.name for entry in (folder / "variables").iterdir()))
    (folder / "variables" / name).unlink()
    sound = (made.saved_model / "variables" / name).read_bytes()
    (folder / "variables" / name).write_bytes(mutate_bytes(chance, sound))
    (folder / "saved_model.pb").write_bytes(content)
    files.to_text(read_source(folder, None))


def use_keras(suffix: str, chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.conversion import keras_config

    (folder / f"m{suffix}").write_bytes(content)
    keras_config.answer("header", folder / f"m{suffix}")
    keras_config.answer("digest", folder / f"m{suffix}")


def use_child(suffix: str, chance: Random, folder: Path, content: bytes) -> None:
    """As commands read it: in a process that may crash or hang."""
    from edgetf.conversion import keras_file

    (folder / f"m{suffix}").write_bytes(content)
    keras_file.read_header(folder / f"m{suffix}")
    keras_file.read_digest(folder / f"m{suffix}")


def _h5(keras: bytes) -> bytes:
    """An HDF5 file as Keras 2 writes one: the weights of a `.keras` file with its configuration as an attribute."""
    import zipfile

    import h5py

    with zipfile.ZipFile(io.BytesIO(keras)) as archive, tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.h5")
        path.write_bytes(archive.read("model.weights.h5"))
        with h5py.File(path, "r+") as file:
            file.attrs["keras_version"] = "2.21"
            file.attrs["model_config"] = archive.read("config.json")
        return path.read_bytes()
