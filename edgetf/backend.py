"""The import of TensorFlow: late and quiet, or an error with the `pip install` command."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from edgetf.errors import MissingExtraError

# what Keras and TensorFlow import where it is installed, to offer more
_OFFERED = ("IPython", "PIL", "h5py", "matplotlib", "pandas", "rich", "scipy", "sklearn")


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Suppress what native code writes to standard error; print it if the import fails.

    TensorFlow 2.21 logs before it reads TF_CPP_MIN_LOG_LEVEL.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextlib.contextmanager
def _hidden(packages: Iterable[str]) -> Iterator[None]:
    """Let imports of packages fail that are not loaded yet. They can be imported afterwards."""
    names = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # None: it cannot be imported
    try:
        yield
    finally:
        for name in names:
            if sys.modules.get(name) is None:
                sys.modules.pop(name, None)


def load_tensorflow(alone: bool = False) -> Any:
    """Import TensorFlow without its start-up messages. Raises MissingExtraError if it is not installed.

    `alone` is for processes that run SavedModels and nothing else: Keras does not load what it offers more with, if
    that is installed (data frames, plots, notebooks, its files). That is a third of the time and 180 MB.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated.*")
    try:
        with _quiet_stderr(), _hidden(_OFFERED if alone else ()):
            import tensorflow as tf
    except ModuleNotFoundError as error:
        raise MissingExtraError("tensorflow", "convert") from error
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    return tf
