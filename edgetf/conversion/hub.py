"""`hub:PATH_OR_HANDLE`: a model of TensorFlow Hub, as the folder of its SavedModel.

A path is used unchanged. A handle (an https or gs address) is resolved by tensorflow_hub, which looks in
TFHUB_CACHE_DIR first and downloads the model if it is not there.
"""

from __future__ import annotations

from pathlib import Path

from edgetf.backend import load_tensorflow
from edgetf.errors import EdgetfError, MissingExtraError

PREFIX = "hub:"


def find_model(place: str | Path) -> Path:
    """The path of a model that the user named, as a path or as `hub:PATH_OR_HANDLE`.

    Raises EdgetfError for a handle that cannot be fetched, and for a module of TensorFlow 1.
    """
    text = str(place)
    if not text.startswith(PREFIX):
        return Path(text)
    handle = text.removeprefix(PREFIX)
    folder = Path(handle) if Path(handle).exists() else _resolve(handle)
    if (folder / "tfhub_module.pb").is_file():
        hint = "use a version of it that is a SavedModel of TensorFlow 2"
        raise EdgetfError(f"{handle} is a module of TensorFlow 1, which edgetf cannot run", hint)
    return folder


def _resolve(handle: str) -> Path:
    if "://" not in handle:
        raise EdgetfError(f"there is no folder {handle}", "give a SavedModel folder, or an https:// or gs:// handle")
    tf = load_tensorflow()
    try:
        import tensorflow_hub
    except ModuleNotFoundError as error:
        raise MissingExtraError("tensorflow-hub", "hub") from error
    try:
        return Path(tensorflow_hub.resolve(handle))
    except (OSError, ValueError, RuntimeError, EOFError, tf.errors.OpError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        hint = "without a network: unpack the model and give hub:PATH, or set TFHUB_CACHE_DIR to a cache that has it"
        raise EdgetfError(f"cannot fetch {handle}: {reason}", hint) from error
