"""edgetf: convert Keras models to TFLite, measure them on the device, and compare them with TensorFlow.

    variants = edgetf.convert(model, "out", samples=x_train[:500], schemes=["float32", "int8"])
    reference = edgetf.reference(model, (x_test, y_test), "ref")
    bench = edgetf.benchmark(variants, "bench", reference=reference, device="pi")
    print(edgetf.check(bench, max_drop=1.0)["int8"])
    edgetf.report(bench, "report.html")

Importing this package loads neither TensorFlow nor numpy: each function is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgetf.api.benchmark import benchmark as benchmark
    from edgetf.api.compile import compile as compile  # noqa: A004
    from edgetf.api.convert import convert as convert
    from edgetf.api.devices import devices as devices
    from edgetf.api.explain import explain as explain
    from edgetf.api.history import history as history
    from edgetf.api.judge import check as check
    from edgetf.api.judge import choose as choose
    from edgetf.api.judge import gate as gate
    from edgetf.api.look import inspect as inspect
    from edgetf.api.look import load as load
    from edgetf.api.reference import reference as reference
    from edgetf.api.share import bundle as bundle
    from edgetf.api.share import report as report
    from edgetf.api.share import verify as verify
    from edgetf.api.tune import tune as tune
    from edgetf.errors import EdgetfError as EdgetfError
    from edgetf.plans.cache import cache as cache
    from edgetf.plans.fleet.status import status as status
    from edgetf.plans.run import run as run

__version__ = "0.1.0"

# the module of each name, imported when the name is first used (PEP 562)
_WHERE = {
    "benchmark": "edgetf.api.benchmark",
    "bundle": "edgetf.api.share",
    "cache": "edgetf.plans.cache",
    "check": "edgetf.api.judge",
    "choose": "edgetf.api.judge",
    "compile": "edgetf.api.compile",
    "convert": "edgetf.api.convert",
    "devices": "edgetf.api.devices",
    "explain": "edgetf.api.explain",
    "gate": "edgetf.api.judge",
    "history": "edgetf.api.history",
    "inspect": "edgetf.api.look",
    "load": "edgetf.api.look",
    "reference": "edgetf.api.reference",
    "report": "edgetf.api.share",
    "run": "edgetf.plans.run",
    "status": "edgetf.plans.fleet.status",
    "tune": "edgetf.api.tune",
    "verify": "edgetf.api.share",
    "EdgetfError": "edgetf.errors",
}
__all__ = [
    "EdgetfError",
    "benchmark",
    "bundle",
    "cache",
    "check",
    "choose",
    "compile",
    "convert",
    "devices",
    "explain",
    "gate",
    "history",
    "inspect",
    "load",
    "reference",
    "report",
    "run",
    "status",
    "tune",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'edgetf' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
