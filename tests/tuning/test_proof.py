from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgetf.benchmarks.judging.check import Checked
from edgetf.benchmarks.judging.verdict import Judged
from edgetf.conversion.splice import Mixture
from edgetf.device.local import LocalDevice
from edgetf.files import sha256_file
from edgetf.recipes import TUNED
from edgetf.results import Verdict, read_conversion
from edgetf.tuning import proof, tune
from edgetf.tuning.candidates import Candidate
from edgetf.tuning.notebook import Notebook
from edgetf.tuning.proof import FILE, WINNER, Proven
from tests.conftest import ignore
from tests.tuning.test_tune import OPTIONS

_PLAIN = ("float32", "float16", "int8", "weights")  # the nearest to float32 first; the last is the smallest


@pytest.fixture
def prove(converted: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that proves a mixture, larger than `weights`, with scripted verdicts by variant (default: PASS)."""
    run = tune._Run(converted, reference, LocalDevice(), OPTIONS, ignore)
    notes = Notebook(tmp_path / "notes", run.scored(), run.decisive(), ignore)
    count = len(run._splicer.operations)
    plain = {name: Candidate(name, (name,) * count, name, "all of it", 30.0) for name in _PLAIN}
    mixture = Candidate("mixture", ("weights", *("float16",) * (count - 1)), None, "for the test", 30.0)

    def call(verdicts: Mapping[str, Verdict], name: str = mixture.name) -> Proven:
        winner = plain.get(name, mixture)

        def check(_: proof.Proof, result: Any, limited: bool = True) -> Checked:
            verdict = verdicts.get(result.variant, Verdict.PASS)
            parts = {"parity": Judged(verdict, f"scripted for {result.variant}")}
            return Checked(result.variant, result.device, verdict, parts, False)

        monkeypatch.setattr(proof, "_check", check)
        content = run._contents[winner.plain] if winner.plain else run._splicer.splice(Mixture(winner.choice))
        return proof.prove(run._proof(notes, reference, tmp_path / "out"), winner, content, list(plain.values()))

    return call


def _variants(proven: Proven) -> set[str]:
    return {result.variant for result in proven.document.results}


def test_a_smaller_given_variant_that_passes_too_takes_the_winners_place(
    prove: Any, converted: Path, tmp_path: Path
) -> None:
    proven = prove({})
    assert proven.instead == "weights"
    assert proven.winner == Judged(Verdict.PASS, "scripted for weights")
    assert TUNED not in _variants(proven)
    folder = tmp_path / "notes" / WINNER
    assert (folder / FILE).read_bytes() == (converted / "weights.tflite").read_bytes()
    [variant] = read_conversion(folder).variants
    assert variant.sha256 == sha256_file(converted / "weights.tflite")
    assert {one.variant for one in variant.operations} == {"weights"}


def test_nothing_takes_its_place_after_one_that_did_not_pass(prove: Any) -> None:
    """int8 is nearer than weights and as cheap: without its PASS, weights is not tested."""
    count = [Verdict.INCONCLUSIVE, Verdict.FAIL]
    assert [prove({"weights": verdict}).instead for verdict in count] == ["int8", "int8"]
    assert [prove({"int8": verdict}).instead for verdict in count] == [None, None]
    proven = prove({"int8": Verdict.INCONCLUSIVE})
    assert proven.winner == Judged(Verdict.PASS, f"scripted for {TUNED}")
    assert TUNED in _variants(proven)


def test_nothing_takes_the_place_of_a_winner_that_did_not_pass(prove: Any) -> None:
    proven = prove({TUNED: Verdict.INCONCLUSIVE})
    assert proven.instead is None
    assert proven.winner is not None
    assert proven.winner.verdict is Verdict.INCONCLUSIVE
    assert proven.plain == "weights"


def test_a_given_variant_that_won_the_search_is_replaced_only_by_a_smaller_one(prove: Any) -> None:
    assert prove({}, "weights").instead is None
    assert prove({"int8": Verdict.FAIL}, "float16").instead is None
    assert prove({}, "float16").instead == "weights"
