"""The driver of a joined reference: `python -m edgetf.plans.fleet.reference_child`, as `edgetf.api.child` otherwise."""

from __future__ import annotations

from functools import partial

from edgetf.api.child import serve
from edgetf.benchmarks.reference.make import make_reference
from edgetf.plans.fleet.joined import joined
from edgetf.process import leave

if __name__ == "__main__":
    serve(partial(make_reference, compute=joined))
    leave()
