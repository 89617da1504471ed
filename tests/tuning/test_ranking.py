"""The cost of single operations, its additivity, and faults by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetf.benchmarks.rows import Outputs
from edgetf.conversion.skeleton import BASE
from edgetf.conversion.splice import Mixture, Splicer
from edgetf.flatbuffer import builtin_code, names_of, pack, unpack
from edgetf.samples import Array
from edgetf.tuning.candidates import Kept, Maker, tails_only
from edgetf.tuning.ranking import Ranking, rank, worst
from edgetf.tuning.running import HOPELESS, Fed, Scorer, noise_of, to_db
from edgetf.tuning.tune import rows_for
from tests.conftest import Small

DECIDING_DB = 60.0  # beyond, no decision changes; float16's errors are alike in all operations, and cancel out
NAMES = ("float16", "dynamic", "int8")
Ranked = tuple[Scorer, Ranking]


def _scorer(files: dict[str, bytes], small: Small) -> Scorer:
    return Scorer(Splicer(files), Fed({"image": np.load(small.samples)["image"][:32]}), {})


@pytest.fixture(scope="module")
def files(converted: Path) -> dict[str, bytes]:
    return {name: (converted / f"{name}.tflite").read_bytes() for name in (BASE, *NAMES)}


@pytest.fixture(scope="module")
def ranked(files: dict[str, bytes], small: Small) -> Ranked:
    scorer = _scorer(files, small)
    return scorer, rank(scorer, NAMES)


def test_noise_adds_up_so_that_mixtures_are_predicted_within_3_db(ranked: Ranked) -> None:
    scorer, ranking = ranked
    compared = 0
    random, units = np.random.default_rng(0), ranking.units
    whole = [(name,) * len(units) for name in NAMES]
    mixed = [tuple(str(one) for one in random.choice((BASE, *NAMES), len(units))) for _ in range(20)]
    for files_of_units in [*whole, *mixed]:
        choice = [BASE] * len(scorer.splicer.operations)
        for unit, name in zip(units, files_of_units, strict=True):
            for operation in unit:
                choice[operation] = name
        predicted = to_db(worst(ranking.predict(files_of_units)))
        [score] = scorer.score([Mixture(tuple(choice))])
        if score.db < DECIDING_DB:
            assert abs(predicted - score.db) <= 3.0, files_of_units
            compared += 1
    assert compared > 10


def test_an_unquantized_operation_costs_nothing_and_each_is_scored_once(ranked: Ranked) -> None:
    scorer, ranking = ranked
    assert to_db(worst(ranking.predict((BASE,) * len(ranking.units)))) == 120.0
    [score] = scorer.score([Mixture((BASE,) * len(scorer.splicer.operations))])
    assert score.db == 120.0
    assert not ranking.faults


def test_a_kernel_that_is_wrong_is_reported_by_its_kind(files: dict[str, bytes], small: Small) -> None:
    """RESHAPE copies bytes: with another scale behind it than before it, all that follows is wrong."""
    model, schema = unpack(files["int8"])
    graph, kinds = model.subgraphs[0], names_of(schema.BuiltinOperator)
    [reshape] = [op for op in graph.operators if kinds[builtin_code(model, op)] == "RESHAPE"]
    parameters = graph.tensors[int(reshape.outputs[0])].quantization
    parameters.scale = np.asarray(parameters.scale, np.float32) * 3
    broken = _scorer({**files, "int8": pack(model)}, small)
    [fault] = rank(broken, NAMES).faults
    assert (fault.file, fault.kind) == ("int8", "RESHAPE")
    assert fault.db < fault.rest_db - 10
    assert fault.db < fault.rounding_db - 10


def test_a_mixture_that_crashes_does_not_affect_the_others(files: dict[str, bytes], small: Small) -> None:
    scorer = _scorer(files, small)
    count, real = len(scorer.splicer.operations), scorer._one

    def crash(mixture: Mixture) -> object:
        if mixture.choice[0] == "int8":
            import os
            import signal

            os.kill(os.getpid(), signal.SIGKILL)
        return real(mixture)

    scorer._one = crash  # type: ignore[method-assign, assignment]
    bad, good = scorer.score([Mixture(("int8",) * count), Mixture(("dynamic",) * count)])
    assert "SIGKILL" in bad.problem
    assert good.db > 20


def test_candidates_are_the_files_and_the_mixtures_with_kept_layers(ranked: Ranked) -> None:
    scorer, ranking = ranked
    found = Maker(scorer, ranking, NAMES, Kept()).make()
    assert [one.plain for one in found[:3]] == list(NAMES)
    assert len({one.choice for one in found}) == len(found) > 5
    assert len({one.name for one in found}) == len(found)
    first = ranking.units[0][0]
    kept = Maker(scorer, ranking, NAMES, Kept(frozenset({first}), "float16")).make()
    assert all(one.choice[first] in (BASE, "float16") for one in kept)
    assert [one.plain for one in kept if one.name == "int8-kept"] == [None]


def test_int16x8_is_mixed_in_the_last_operations_alone_and_brings_int8_nearer(
    files: dict[str, bytes], converted: Path, small: Small
) -> None:
    given = {BASE: files[BASE], "int8": files["int8"], "int16x8": (converted / "int16x8.tflite").read_bytes()}
    scorer = _scorer(tails_only(given), small)
    names = ("int8", "int16x8")
    candidates = Maker(scorer, rank(scorer, names), names, Kept()).make()
    tails = [one for one in candidates if "int16x8" in one.choice]
    assert [one.choice.count("int16x8") for one in tails] == [1, 2, 3, 4]
    for one in tails:
        first = one.choice.index("int16x8")
        assert one.plain is None
        assert "int16x8" in one.choice[-1]
        assert set(one.choice[first:]) <= {"int16x8", BASE}
    assert len(scorer.splicer.operations) - min(one.choice.index("int16x8") for one in tails) == 4
    [int8] = [one for one in candidates if one.plain == "int8"]
    scores = scorer.score([Mixture(one.choice) for one in (int8, tails[0])])
    assert scores[1].db > scores[0].db


def test_a_graph_of_many_operations_is_ranked_by_kinds_and_halves(
    ranked: Ranked, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, _ = ranked
    monkeypatch.setattr("edgetf.tuning.ranking.MANY", 3)
    monkeypatch.setattr("edgetf.tuning.ranking._MOST_UNITS", 5)
    ranking = rank(scorer, NAMES)
    assert len(ranking.units) == 5
    operations = [k for unit in ranking.units for k in unit]
    assert len(operations) == len(set(operations)) == 6
    assert {len({scorer.splicer.operations[k].kind for k in unit}) for unit in ranking.units} == {1}


def test_integer_outputs_count_only_if_there_is_no_real_output() -> None:
    scores, classes = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20)
    exact = Outputs({"scores": scores, "class": classes}, {})
    found = Outputs({"scores": scores, "class": classes[::-1]}, {})
    assert noise_of(exact, found).keys() == {"scores"}
    assert noise_of(Outputs({"class": classes}, {}), found)["class"] > 1


def test_what_is_added_to_all_classes_is_neither_signal_nor_noise() -> None:
    rng = np.random.default_rng(0)
    common, exact = rng.normal(size=(20, 1, 1)), rng.normal(size=(20, 3, 1))  # an axis of one class is not the classes
    moved, apart = exact + common, exact + 0.1 * rng.normal(size=(20, 3, 1))
    classes = frozenset({"scores"})

    def noise(found: Array, classes: frozenset[str]) -> float:
        return noise_of(Outputs({"scores": exact}, {}), Outputs({"scores": found}, {}), classes)["scores"]

    assert noise(moved, classes) < 1e-10 < 0.1 < noise(moved, frozenset())
    assert 1e-3 < noise(apart, classes) < 0.1
    assert noise(np.delete(moved, 0, axis=1), classes) == HOPELESS


def test_heavy_models_are_ranked_on_fewer_samples_by_their_work(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    splicer = Splicer(files)
    assert rows_for(splicer) == 32
    islands = sum(splicer.differs(name, k) for name in NAMES for k in range(len(splicer.operations)))
    for rows, expected in ((20, 20), (3, 8)):
        monkeypatch.setattr("edgetf.tuning.tune._WORK", rows * islands * splicer.multiplications)
        assert rows_for(splicer) == expected
