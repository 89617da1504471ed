"""The configuration in a Keras file, read without loading the model.

In: an untrusted `.keras` or `.h5` file. Out: the Keras generation that wrote it and everything that loading it would
run or import (`python -m edgetf.conversion.keras_config header FILE`), or a digest of its content (`digest FILE`). It
runs in a separate process with a time limit: a damaged HDF5 file can block the HDF5 library forever, even against
Ctrl-C.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgetf.conversion.keras_findings import Finding, findings_of
from edgetf.conversion.keras_inputs import InputLayer, inputs_of_config
from edgetf.errors import EdgetfError, MissingExtraError
from edgetf.process import EventPipe, reporting
from edgetf.reading import parsing

RESAVE = "save the whole model again with: model.save('model.keras')"
_MOST_BYTES = 256 << 20  # for a configuration: the largest published models have a few megabytes
_LEAST_MEMORY = 4 << 30  # bytes, for the libraries and small files
_HALF = {"mixed_float16", "float16", "mixed_bfloat16", "bfloat16"}
_TRAINING = {"optimizer", "optimizer_weights", "metrics"}  # groups of arrays that only training uses
_POLICIES = {"DTypePolicy", "FloatDTypePolicy", "Policy", "PolicyV1"}


@dataclass(frozen=True)
class Header:
    """What a Keras file is: `generation` 2 or 3; `int8`: trained for int8 with tfmot; `half`: computes in float16.

    `inputs` are empty if the configuration does not state them.
    """

    generation: int
    int8: bool
    half: bool
    findings: tuple[Finding, ...]
    inputs: tuple[InputLayer, ...] = ()


def read_header(path: Path) -> Header:
    """Read the file in this process. Raises EdgetfError for one that is damaged or holds no model."""
    version, config = read_config(path)
    generation = 2 if version.startswith("2") else 3
    known = list(walk(config))
    return Header(
        generation=generation,
        int8=any(one.get("class_name") in ("QuantizeWrapper", "QuantizeWrapperV2") for one in known),
        half=any(_half_key(one) for one in known),
        findings=tuple(dict.fromkeys(finding for one in known for finding in findings_of(one))),
        inputs=inputs_of_config(config, keeps_batch=generation == 2),
    )


def read_config(path: Path) -> tuple[str, dict[str, Any]]:
    """The version of Keras that wrote the file, and the model's configuration. Nothing is loaded from it."""
    version, text = _read_zip(path) if path.suffix == ".keras" else _read_h5(path)
    if len(text) > _MOST_BYTES:
        raise EdgetfError(f"the configuration in {path} is larger than any model's", RESAVE)
    try:
        config = json.loads(text)
    except Exception as error:
        raise EdgetfError(f"the configuration in {path} is damaged", RESAVE) from error
    if not isinstance(config, dict):
        raise EdgetfError(f"the configuration in {path} is damaged", RESAVE)
    config.pop("compile_config", None)  # the model is loaded without it
    return version, config


def to_float32(path: Path, copy: Path) -> None:
    """Write the file at `copy` with every half-precision dtype in its configuration replaced by float32."""
    _, config = read_config(path)
    for one in walk(config):
        if key := _half_key(one):
            (one["config"] if key == "config" else one)["name" if key == "config" else key] = "float32"
    text = json.dumps(config).encode()
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
            for name in dict.fromkeys(old.namelist()):
                with new.open(name, "w", force_zip64=True) as target:
                    if name == "config.json":
                        target.write(text)
                        continue
                    with old.open(name) as stored:
                        shutil.copyfileobj(stored, target)
        return
    import h5py

    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = text


def _half_key(one: dict[str, Any]) -> str:
    """The key by which a dict of the configuration sets half precision: "dtype", "config" (a policy's name), or ""."""
    if isinstance(dtype := one.get("dtype"), str) and dtype in _HALF:
        return "dtype"
    policy = one.get("config")
    if one.get("class_name") in _POLICIES and isinstance(policy, dict) and policy.get("name") in _HALF:
        return "config"
    return ""


def walk(config: Any) -> Iterator[dict[str, Any]]:
    """Every dict in a configuration, at any depth."""
    waiting = [config]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


# files ----------------------------------------------------------------------------------------------------------------


def _read_zip(path: Path) -> tuple[str, bytes]:
    with parsing(path, "a .keras file", RESAVE), zipfile.ZipFile(path) as archive:
        version = str(json.loads(archive.read("metadata.json"))["keras_version"])
        if archive.getinfo("config.json").file_size > _MOST_BYTES:
            raise EdgetfError(f"the configuration in {path} is larger than any model's", RESAVE)
        return version, archive.read("config.json")


def _read_h5(path: Path) -> tuple[str, bytes]:
    if zipfile.is_zipfile(path):  # Keras 3 would load the zip file and ignore the HDF5 data around it
        raise EdgetfError(f"{path} is a zip file, not an HDF5 file", "if it is a .keras file, name it so")
    with _open_h5(path) as file:
        if "model_config" not in file.attrs:
            raise EdgetfError(f"{path} holds weights only, not a model", RESAVE)
        version, config = file.attrs.get("keras_version", b"2"), file.attrs["model_config"]
        return _text(version).decode(errors="replace"), _text(config)


def _text(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _open_h5(path: Any) -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise MissingExtraError("h5py", "convert") from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise EdgetfError(f"{path} is not an HDF5 file", RESAVE) from error


def read_digest(path: Path) -> str:
    """SHA-256 of the configuration and of every array except those of training, read in this process.

    It differs from a digest of the file's bytes: dates and the state of training are ignored. It reads all weights.
    """
    _, config = read_config(path)
    for one in walk(config):
        one.pop("shared_object_id", None)  # a memory address of the process that saved it
        one.pop("compile_config", None)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    try:
        if path.suffix != ".keras":
            with _open_h5(path) as file:
                _add_arrays(file, digest)
        else:
            with zipfile.ZipFile(path) as archive:
                _add_weights(archive, digest)
    except Exception as error:
        raise EdgetfError(f"the weights in {path} are damaged", RESAVE) from error
    return digest.hexdigest()


def _add_weights(archive: zipfile.ZipFile, digest: Any) -> None:
    for name in sorted(archive.namelist()):
        if name.endswith(".h5"):
            with archive.open(name) as stored, _open_h5(stored) as file:
                _add_arrays(file, digest)
        elif name not in ("config.json", "metadata.json"):  # assets, such as vocabularies
            digest.update(f"{name}\0".encode())
            digest.update(archive.read(name))


def _add_arrays(file: Any, digest: Any) -> None:
    found: dict[str, Any] = {}
    file.visititems(lambda name, thing: found.__setitem__(name, thing) if hasattr(thing, "dtype") else None)
    for name in sorted(found):
        if name.split("/")[0] not in _TRAINING:
            array = found[name][()]
            digest.update(f"{name}\0{found[name].dtype}\0{found[name].shape}\0".encode())
            digest.update(array.tobytes() if hasattr(array, "tobytes") else repr(array).encode())


def answer(what: str, path: Path) -> dict[str, Any]:
    """The answer to send: the fields of the file's Header, or its digest if `what` is "digest". Raises EdgetfError."""
    with parsing(path, f"a {path.suffix} file", RESAVE):
        return {"digest": read_digest(path)} if what == "digest" else {"header": asdict(read_header(path))}


def main() -> None:
    pipe, (what, file) = EventPipe(), sys.argv[1:3]
    path = Path(file)
    _limit_memory(path.stat().st_size)
    with reporting(pipe):
        pipe.answer(what, **answer(what, path))


def _limit_memory(size: int) -> None:
    """Limit this process's memory: a damaged file can make a library allocate far more than the file's size needs."""
    import resource

    most = _LEAST_MEMORY + 8 * size
    with contextlib.suppress(OSError, ValueError):  # a lower limit is in force
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main()
