"""Expects a DeviceError with its cause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edgetf.errors import Cause, DeviceError


@contextmanager
def failing(cause: Cause, match: str) -> Iterator[pytest.ExceptionInfo[DeviceError]]:
    with pytest.raises(DeviceError, match=match) as caught:
        yield caught
    assert caught.value.cause is cause
