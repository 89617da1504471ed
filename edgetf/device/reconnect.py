"""Reconnecting to a device. In: a function. Out: its result, or an error that the device is gone.

The limits are the same over SSH and over adb: the same links are lost.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

T = TypeVar("T")
ATTEMPTS = 5  # in a row, with pauses of 1, 2, 4, ... seconds between them
PAUSE_S = 1.0  # after the first
LASTED_S = 60.0  # a connection that lasted so long counts as good: attempts are counted from zero again
COMMAND_S = 60.0  # within which a command answers
SLOWEST = 50_000  # bytes a second, below which a link counts as dead


class LostError(Exception):
    """The device cannot be reached just now; the message is the reason that the connection gave."""


def persist(
    act: Callable[[], T],
    *,
    forget: Callable[[], None],
    was_reached: Callable[[], bool],
    pause: Callable[[float], None] = sleep,
) -> T:
    """The result of `act`, which connects if necessary and raises LostError when the connection is lost.

    Then `forget` drops the connection, and after a pause `act` starts over: whatever it does may be done twice. Raises
    the last LostError after ATTEMPTS, or at once for a device that was never reached: waiting would not help. `pause`
    waits for so many seconds.
    """
    attempt = 0
    while True:
        begin = monotonic()
        try:
            return act()
        except LostError:
            attempt = 1 if monotonic() - begin > LASTED_S else attempt + 1
            forget()
            if not was_reached() or attempt >= ATTEMPTS:
                raise
            pause(PAUSE_S * 2 ** (attempt - 1))
