"""Lanes of a plan: in each, one thing after another; of different lanes, at the same time.

Their threads are daemons: a driver that is interrupted ends at once, and with it, by their guards, its children.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Lanes:
    """Threads by lane; a lane may have several, of which each takes what is next."""

    def __init__(self) -> None:
        self._waiting: dict[str | None, queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]]] = {}

    def begin(self, lane: str | None, threads: int, act: Callable[[], T]) -> Callable[[], T]:
        """Run `act` when it is next in its lane, which gets `threads` with the first; returns what waits for it."""
        if lane not in self._waiting:
            self._waiting[lane] = queue.SimpleQueue()
            for _ in range(threads):
                threading.Thread(target=_work, args=(self._waiting[lane],), daemon=True).start()
        future: Future[T] = Future()
        self._waiting[lane].put((future, act))
        return future.result


def _work(waiting: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]]) -> None:
    while True:
        future, act = waiting.get()
        try:
            future.set_result(act())
        except BaseException as error:  # whoever waits for it gets it
            future.set_exception(error)
