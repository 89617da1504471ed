"""The import of TensorFlow: late and quiet, or an error with the `pip install` command."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

from edgetf.errors import MissingExtraError


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


def load_tensorflow() -> Any:
    """Import TensorFlow without its start-up messages. Raises MissingExtraError if it is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated.*")
    try:
        with _quiet_stderr():
            import tensorflow as tf
    except ModuleNotFoundError as error:
        raise MissingExtraError("tensorflow", "convert") from error
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    return tf
