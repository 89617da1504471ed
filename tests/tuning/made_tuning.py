"""A `tuning.json` as `edgetf tune` writes it, without a search."""

from __future__ import annotations

from edgetf.recipes import TUNING_SCHEMA, Aim, Ending, Evaluation, Limits, Stand, Tried, Tuning
from edgetf.results import SamplesUsed, Verdict

_JUDGED = Evaluation(Verdict.PASS, "accuracy drop +0.10", 128, 500, "accuracy", 0.1, -0.2, 0.4, 1.0)


def _tried(name: str, size: int, db: float | None, stand: Stand) -> Tried:
    evaluation = _JUDGED if stand in (Stand.CHOSEN, Stand.PASSES) else None
    taken = (1, stand, "", evaluation, 65, 55)
    return Tried(name, None, "fewest bytes", {"weights": 3}, size, None, db, db, size / 1e6, *taken)


def made_tuning(samples: SamplesUsed) -> Tuning:
    return Tuning(
        schema=TUNING_SCHEMA,
        edgetf="1",
        created="2026-01-01T00:00:00Z",
        ending=Ending.TUNED,
        aim=Aim.SIZE,
        limits=Limits(1.0, False, (), None, None, None),
        device="local",
        runtime=None,
        ranked_on=samples,
        searched_on=samples,
        proven_on=samples,
        winner="mix-1 <$&",
        verdict=Verdict.PASS,
        reason="accuracy drop +0.10",
        plain=None,
        candidates=(
            _tried("float16", 900, 60.0, Stand.PASSES),
            _tried("mix-1 <$&", 500, 40.0, Stand.CHOSEN),
            _tried("mix-2", 950, 20.0, Stand.USELESS),
            _tried("mix-3", 400, 10.0, Stand.FAILS),
            _tried("broken", 100, None, Stand.REFUSED),
        ),
    )
