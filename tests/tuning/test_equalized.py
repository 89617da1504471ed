"""Tuning of variants of which int8 is equalized: its layers come from it together, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetf.benchmarks.benchmark import BenchmarkOptions
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.conversion.skeleton import BASE
from edgetf.conversion.splice import Mixture, Splicer
from edgetf.device.local import LocalDevice
from edgetf.recipes import Ending, Stand, read_tuning
from edgetf.results import Verdict, read_conversion
from edgetf.samples import make_samples, save_samples
from edgetf.tuning import tune as tuning
from edgetf.tuning.candidates import Kept, Maker
from edgetf.tuning.evaluate import Criteria
from edgetf.tuning.options import TuneOptions
from edgetf.tuning.ranking import Ranking, rank, worst
from edgetf.tuning.running import Fed, Scorer, to_db
from tests.conftest import BLOCKS, SHORT, Small, ignore

NAMES = ("float16", "dynamic", "int8")
Ranked = tuple[Scorer, Ranking]


@pytest.fixture(scope="module")
def ranked(equalized: Path, unlike: Small) -> Ranked:
    files = {name: (equalized / f"{name}.tflite").read_bytes() for name in (BASE, *NAMES)}
    scorer = Scorer(Splicer(files), Fed({"image": np.load(unlike.samples)["image"][:32]}), {})
    return scorer, rank(scorer, NAMES)


def test_a_group_is_scored_as_one_and_no_kind_is_faulty_or_hopeless(ranked: Ranked) -> None:
    scorer, ranking = ranked
    [group], [bound] = scorer.splicer.groups["int8"], ranking.bound["int8"]
    assert {operation for k in bound for operation in ranking.units[k]} == group
    assert ranking.bound["float16"] == ranking.bound["dynamic"] == ()
    first, *others = sorted(bound)
    assert to_db(worst(ranking.noise["int8"][first])) > 15
    assert not any(ranking.noise["int8"][k] for k in others)
    assert sum(bool(ranking.noise["float16"][k]) for k in bound) > 1  # each operation has its own
    assert "CONV_2D + FULLY_CONNECTED + MAX_POOL_2D + RESHAPE" in ranking.kinds["int8"]
    assert all(to_db(worst(noise)) > 15 for noise in ranking.kinds["int8"].values())
    assert not ranking.faults


def test_many_operations_in_units_of_kinds_are_bound_too(ranked: Ranked, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, _ = ranked
    monkeypatch.setattr("edgetf.tuning.ranking.MANY", 3)
    monkeypatch.setattr("edgetf.tuning.ranking._MOST_UNITS", 5)
    ranking = rank(scorer, NAMES)
    [group], [bound] = scorer.splicer.groups["int8"], ranking.bound["int8"]
    assert group <= {operation for k in bound for operation in ranking.units[k]}
    assert to_db(worst(ranking.noise["int8"][min(bound)])) > 15


def test_no_candidate_splits_a_group_and_kept_layers_take_theirs_along(ranked: Ranked) -> None:
    scorer, ranking = ranked
    splicer = scorer.splicer
    found = Maker(scorer, ranking, NAMES, Kept()).make()
    assert {one.plain for one in found} >= set(NAMES)
    assert any(one.plain is None and "int8" in one.choice and len(set(one.choice)) > 1 for one in found)
    for one in found:
        splicer.splice(Mixture(one.choice))
    [group] = splicer.groups["int8"]
    kept = Maker(scorer, ranking, NAMES, Kept(splicer.together([min(group)]), "float16")).make()
    assert all(one.choice[k] in (BASE, "float16") for one in kept for k in group)
    assert any("int8" in one.choice for one in kept)


def test_an_equalized_model_is_tuned_with_a_kept_layer(equalized: Path, unlike: Small, tmp_path: Path) -> None:
    import keras

    images = np.random.default_rng(1).normal(size=(300, 8, 8, 2)).astype(np.float32)
    labels = np.argmax(keras.models.load_model(unlike.keras_file).predict(images, verbose=0), axis=1)
    save_samples(tmp_path / "s.npz", make_samples("others", {"image": images}, labels))
    make_reference(unlike.saved_model, tmp_path / "s.npz", tmp_path / "ref", ReferenceOptions(on=Place.CPU), ignore)
    options = TuneOptions(
        criteria=Criteria(Budgets(max_drop=15.0)),
        measuring=BenchmarkOptions(timing=SHORT, blocks=BLOCKS, patience=1, energy_s=0.0),
        turn=SHORT,
        turns=BLOCKS,
        keep=("second",),
    )
    tuning.tune(equalized, tmp_path / "ref", LocalDevice(), tmp_path / "out", options, ignore)
    found = read_tuning(tmp_path / "out")
    assert found.ending in (Ending.TUNED, Ending.PLAIN)
    assert found.verdict is Verdict.PASS
    assert not any(one.stand is Stand.REFUSED for one in found.candidates)
    assert any(loss.layer and loss.layer.endswith(" equalized with it") for loss in found.losses)
    [variant] = read_conversion(tmp_path / "out").variants
    layers = {one.layer: one.variant for one in variant.operations}
    assert {layers["first"], layers["second"]} <= {BASE, "float16"}  # one is kept, with the other
