from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetf.device import reconnect
from edgetf.device.reconnect import ATTEMPTS, LostError, persist


class _Link:
    """A link that is lost `losses` times; `pauses` records the waits."""

    def __init__(self, losses: int) -> None:
        self.losses, self.tries, self.dropped = losses, 0, 0
        self.pauses: list[float] = []

    def act(self) -> str:
        self.tries += 1
        if self.tries <= self.losses:
            raise LostError(f"lost {self.tries}")
        return "done"

    def forget(self) -> None:
        self.dropped += 1

    def persist(self, was_reached: Callable[[], bool]) -> str:
        return persist(self.act, forget=self.forget, was_reached=was_reached, pause=self.pauses.append)


@given(st.integers(0, 2 * ATTEMPTS))
def test_a_lost_connection_is_tried_again_with_growing_pauses_and_not_for_ever(losses: int) -> None:
    link = _Link(losses)
    if losses < ATTEMPTS:
        assert link.persist(lambda: True) == "done"
        assert link.tries == losses + 1
    else:
        with pytest.raises(LostError, match=f"lost {ATTEMPTS}"):
            link.persist(lambda: True)
        assert link.tries == ATTEMPTS
    assert link.dropped == min(losses, ATTEMPTS)
    assert link.pauses == [2.0**k for k in range(min(losses, ATTEMPTS - 1))]


def test_a_device_that_was_never_reached_is_tried_once() -> None:
    link = _Link(1)
    with pytest.raises(LostError, match="lost 1"):
        link.persist(lambda: False)
    assert (link.tries, link.pauses) == (1, [])


def test_attempts_are_counted_from_zero_after_a_connection_that_lasted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnect, "LASTED_S", -1.0)  # every connection counts as good
    link = _Link(3 * ATTEMPTS)
    assert link.persist(lambda: True) == "done"
    assert set(link.pauses) == {reconnect.PAUSE_S}
