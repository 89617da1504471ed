"""`edgetf.toml`: what is read, what is refused with the name of the key, and what is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgetf
from edgetf.benchmarks.judging.choose import Objective
from edgetf.benchmarks.judging.gate import Gate
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.errors import EdgetfError
from edgetf.files import read_toml
from edgetf.plans.call import benchmark
from edgetf.plans.facts import of_measuring
from edgetf.plans.keys import MODEL, OPTIONS, PLAN, TUNING, json_schema
from edgetf.plans.plan import NO_BUDGETS, Options, Plan, PlannedModel, Tuning, When, load_plan
from edgetf.plans.written import is_own, plan_as_toml

LEAST = '[models.digits]\npath = "m.keras"\ntest = "t.npz"\n'
WHOLE = """
out = "out"
for = "size"
schemes = ["float32", "int8"]
devices = ["local", "shelf"]
devices_file = "lab.toml"

[models.digits]
path = "m.keras"
samples = "${SAMPLES}/train.npz"
test = "t.npz"
labels_are = "class"
metric = "own:score"
shapes = { image = [1, 28, 28, 1] }
schemes = "float16"

[models.faces]
path = "hub:somebody/faces"
test = "tfds:faces?split=test"
devices = "shelf"

[classes]
shelf = ["pi1", "pi2"]

[budgets]
max_drop = 2.0
max_latency_ms = { pi1 = 20.0 }
[budgets.of.int8]
max_drop = 0.5

[tuning]
when = "never"
evaluations = 4

[options]
on = "cpu"
delegate = "libvx.so"
delegate_options = { cache = "/tmp/a b", verbose = "" }
blocks = 3
sustained = 60.0
"""


def _load(text: str, folder: Path) -> Plan:
    (folder / "edgetf.toml").write_text(text)
    return load_plan(folder / "edgetf.toml")


def test_every_key_is_read_and_paths_are_those_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLES", "sets")
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "train.npz").touch()
    found = _load(WHOLE, tmp_path)
    digits, faces = found.models
    assert digits.path == str(tmp_path / "m.keras")
    assert digits.samples == str(tmp_path / "sets" / "train.npz")
    assert (digits.schemes, faces.schemes) == (("float16",), ("float32", "int8"))
    assert (digits.devices, faces.devices) == (("local", "shelf"), ("shelf",))
    assert digits.shapes == {"image": (1, 28, 28, 1)}
    assert (faces.path, faces.test) == ("hub:somebody/faces", "tfds:faces?split=test")
    assert found.members("shelf") == ("pi1", "pi2")
    assert found.members("local") == ("local",)
    assert (found.out, found.devices_file) == (tmp_path / "out", tmp_path / "lab.toml")
    assert found.objective is Objective.SIZE
    assert found.budgets.for_variant("int8").budgets.max_drop == 0.5
    assert found.budgets.latency_ms == {"pi1": 20.0}
    assert found.tuning == Tuning(When.NEVER, 4)
    pairs = {"cache": "/tmp/a b", "verbose": ""}
    assert found.options == Options(on="cpu", delegate="libvx.so", delegate_options=pairs, blocks=3, sustained=60.0)


def test_the_least_plan_has_the_defaults_of_the_commands(tmp_path: Path) -> None:
    model = PlannedModel("digits", str(tmp_path / "m.keras"), str(tmp_path / "t.npz"))
    assert _load(LEAST, tmp_path) == Plan((model,), tmp_path / "ship", modules=tmp_path)


def test_folders_of_images_are_those_beside_the_file_too(tmp_path: Path) -> None:
    found = _load(LEAST.replace('"t.npz"', '"folder:faces/test?scale=1/255"'), tmp_path)
    assert found.models[0].test == f"folder:{tmp_path / 'faces' / 'test'}?scale=1/255"


def test_a_latency_of_a_class_is_that_of_its_devices(tmp_path: Path) -> None:
    text = 'devices = "shelf"\n' + LEAST + '[classes]\nshelf = ["pi1", "pi2"]\n[budgets]\n'
    found = _load(text + "max_latency_ms = { shelf = 5.0, pi2 = 9.0 }", tmp_path)
    assert found.budgets.latency_ms == {"pi1": 5.0, "pi2": 9.0}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "names no model", "[models.NAME]"),
        (LEAST + 'pathh = "x"', "unknown key 'models.digits.pathh'", "did you mean 'path'"),
        ("[model.x]", "unknown key 'model'", "did you mean 'models'"),
        ("[models.x]\npath = 'm'", "[models.x] has no test", "samples to judge on"),
        ("[models]\nx = 1", "models.x = '1' is not a table", ""),
        (LEAST + 'schemes = ["int9"]', "models.digits.schemes = 'int9' is unknown", "did you mean 'int8'"),
        ('schemes = ["int8", "int8"]\n' + LEAST, "schemes names one twice", "once"),
        ("schemes = []\n" + LEAST, "schemes = '[]' is not a list of texts", ""),
        ('for = "speed"\n' + LEAST, "for = 'speed' is unknown", "latency"),
        (LEAST + "trust = 1", "models.digits.trust = '1' is not true or false", ""),
        (LEAST + "[options]\nblocks = 0", "options.blocks = '0' is not a whole number of at least 1", ""),
        (LEAST + "[options]\nblocks = 1", "options.blocks = 1 is out of bounds", "give at least 2"),
        (LEAST + "[options]\nthreads = 2000", "options.threads = 2000 is out of bounds", "1 to 1,024"),
        (LEAST + "[options]\non = 'gpuu'", "options.on: 'gpuu' is not a place", "did you mean 'gpu'"),
        (LEAST + "[options]\nruntime = 'litert2'", "options.runtime = 'litert2' is unknown", "did you mean 'litert'"),
        (LEAST + "[options]\ndelegate = 'xnpack'", "options.delegate: unknown delegate", "did you mean 'xnnpack'"),
        (LEAST + "[options]\ndelegate_options = 'a=b'", "options.delegate_options = 'a=b' is not a table of texts", ""),
        (LEAST + "[options]\ndelegate_options = { usb = 1 }", "is not a table of texts", ""),
        (LEAST + "[options]\ndelegate_options = { 'a=b' = 'c' }", "is not a table of texts", ""),
        (LEAST + "[options]\ndelegate_option = { a = 'c' }", "unknown key", "did you mean 'delegate_options'"),
        (LEAST + "pixels = '0-1'", "models.digits.pixels: '0-1' is not a map of pixels", ""),
        (
            LEAST + "metric = 'own.score'",
            "models.digits.metric: 'own.score' does not name a function",
            "module:function",
        ),
        (LEAST + "metric_less_is_better = true", "models.digits.metric_less_is_better needs a metric", ""),
        (LEAST + "[options]\nsustained = nan", "options.sustained = 'nan' is not a number", ""),
        (LEAST + "shapes = { x = [0] }", "models.digits.shapes = ", "docs/plans.md"),
        (LEAST + "[tuning]\nwhen = 'often'", "tuning.when = 'often' is unknown", "auto"),
        (LEAST + "[budgets]\nmax_dorp = 1", "unknown key 'budgets.max_dorp'", "did you mean 'max_drop'"),
        (LEAST + "[budgets]", "sets no budgets", "max_drop"),
        (LEAST + "[budgets]\nmax_latency_ms = { loacl = 1 }", "nothing is measured on 'loacl'", "did you mean 'local'"),
        (LEAST + "[budgets.of.int9]\nmax_drop = 1", "no model has a variant 'int9'", "did you mean 'int8'"),
        (LEAST.replace("m.keras", "$HOME/m.keras"), "has a $ outside of ${NAME}", "write ${NAME}"),
        (LEAST + "[classes]\nshelf = 3", "classes.shelf = '3' is not a list of texts", ""),
        (LEAST.replace("m.keras", "${NO_SUCH}/m.keras"), "models.digits.path names ${NO_SUCH}", "export NO_SUCH"),
        ('[models."../x"]\npath = "m"\ntest = "t"', "a model cannot be called '../x'", "folder"),
        ('[models."run.json"]\npath = "m"\ntest = "t"', "a model cannot be called 'run.json'", "folder"),
        (LEAST + '[classes]\n"../x" = ["local"]', "a class of devices, cannot be called '../x'", "folder"),
        ('devices = "../x"\n' + LEAST, "a class of devices, cannot be called '../x'", "folder"),
        ('modules = "gone"\n' + LEAST, "which is not a folder", "correct the path"),
    ],
)
def test_what_is_wrong_is_an_error_with_the_key_and_the_nearest_name(
    text: str, message: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(EdgetfError) as caught:
        _load(text, tmp_path)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_options_that_the_delegate_of_a_device_lacks_are_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "devices.toml").write_text('[gpu]\nkind = "local"\ndelegate = "gpu"\n')
    options = 'delegate_options = { precision = "float32" }'
    (tmp_path / "edgetf.toml").write_text(f"{LEAST}[options]\n{options}\n")
    with pytest.raises(EdgetfError, match="options of local: xnnpack has no option 'precision'"):
        edgetf.run(tmp_path / "edgetf.toml", dry_run=True)
    (tmp_path / "edgetf.toml").write_text(f'devices = "gpu"\n{LEAST}[options]\n{options}\n')
    edgetf.run(tmp_path / "edgetf.toml", dry_run=True)  # its own delegate has it; the files of the steps are missing


def test_the_options_of_a_delegate_are_among_the_facts_and_arguments_of_a_benchmark(tmp_path: Path) -> None:
    plain = Options(delegate="libvx.so")
    asked = replace(plain, delegate_options={"device": "usb"})
    [model] = _load(LEAST, tmp_path).models
    called = benchmark(model, "local", (tmp_path, tmp_path), asked).arguments
    assert (called["delegate"], called["delegate_option"]) == ("libvx.so", {"device": "usb"})
    assert of_measuring(plain) != of_measuring(asked)


def test_the_schema_for_editors_has_the_keys_that_are_read(tmp_path: Path) -> None:
    found = json_schema()
    tables = found["properties"]
    assert set(tables) == set(PLAN)
    assert set(tables["models"]["additionalProperties"]["properties"]) == set(MODEL)
    assert set(tables["tuning"]["properties"]) == set(TUNING)
    assert set(tables["options"]["properties"]) == set(OPTIONS)
    assert found["required"] == ["models"]
    assert all("description" in table for table in tables.values())
    jsonschema = pytest.importorskip("jsonschema", reason="it comes with Jupyter's packages")
    jsonschema.Draft202012Validator.check_schema(found)
    (tmp_path / "whole.toml").write_text(WHOLE)
    jsonschema.validate(read_toml(tmp_path / "whole.toml", ""), found)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"models": {"x": {"path": "m", "test": "t", "tset": "t"}}}, found)


_TEXTS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)
_NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
_LIBRARIES = st.sampled_from(["/usr/lib/lib vx.so", 'lib"ny$.so'])
_BUDGETS = st.builds(
    lambda drop, size: Gate((), Budgets(max_drop=drop, max_bytes=size), {}, frozenset({"max_drop", "max_bytes"})),
    st.floats(0, 100),
    st.integers(1, 10**9),
)


@given(
    model=st.builds(
        PlannedModel,
        name=_NAMES,
        path=st.sampled_from(["/models/m.keras", "/models/a$b ${C} $$/m.keras"]),
        test=st.just("/data/t.npz"),
        samples=st.none() | st.sampled_from(["own:samples", "/data/$x.npz"]),
        metric=st.lists(_TEXTS.map("own:{}".format), unique=True, max_size=2).map(tuple),
        signature=st.none() | _TEXTS,
        shapes=st.dictionaries(_TEXTS, st.lists(st.integers(1, 300), min_size=1).map(tuple), max_size=2),
        trust=st.booleans(),
        devices=st.lists(_NAMES, unique=True, min_size=1, max_size=3).map(tuple),
    ),
    classes=st.dictionaries(_NAMES, st.lists(_TEXTS, unique=True, min_size=1).map(tuple), max_size=2),
    budgets=st.just(NO_BUDGETS) | _BUDGETS,
    options=st.builds(
        Options,
        blocks=st.integers(2, 9),
        delegate=st.none() | _LIBRARIES,
        delegate_options=st.dictionaries(_NAMES, st.just("") | _TEXTS, max_size=2),
        sustained=st.floats(0, 1e6),
    ),
)
def test_a_plan_that_is_written_is_read_again_as_it_was(
    model: PlannedModel,
    classes: dict[str, Any],
    budgets: Gate,
    options: Options,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("written")
    plan = Plan((model,), folder / "ship", Objective.LATENCY, classes, budgets, Tuning(When.ALWAYS, 3), options)
    plan = replace(plan, modules=folder)
    assert is_own(plan_as_toml(plan, folder))
    assert _load(plan_as_toml(plan, folder), folder) == plan


def test_the_schema_is_printed_for_editors(edgetf_here: Any) -> None:
    ended = edgetf_here("run", "--schema")
    assert ended.returncode == 0
    assert json.loads(ended.stdout) == json_schema()
