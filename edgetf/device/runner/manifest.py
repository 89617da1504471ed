"""The manifest of a bundle, `manifest.json`: what is in it, what it must answer, and what it was signed for.

Frozen dataclasses of plain values. `edgetf bundle` writes them; the runner on the device and `edgetf inspect` read
them, by the same function, because a bundle comes from anywhere.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

# 2: inputs and outputs without an axis for samples, shapes of outputs
# 3: what the variant does with pixels, of which the golden inputs then are; 2 is still read
BUNDLE_SCHEMA = 3
_WITHOUT_PIXELS = 2
_READ = (_WITHOUT_PIXELS, BUNDLE_SCHEMA)
MANIFEST = "manifest.json"
_LARGEST = 1e38  # of float32


@dataclass(frozen=True)
class GoldenOutput:
    """The expected values of one output: a `.npy` file, and how far each value may be from it.

    If the shapes differ from sample to sample, values are padded, and `shapes` is a `.npy` file with each shape.
    """

    name: str
    file: str
    shapes: str | None
    tolerance: float


@dataclass(frozen=True)
class Provenance:
    """Where the variant comes from, and the verdict that it was signed with: a word, its reason, and milliseconds."""

    edgetf: str
    created: str
    saved_model_sha256: str
    samples_sha256: str
    variant_sha256: str
    device: str
    runtime: str
    verdict: str
    because: str
    median_ms: float | None


@dataclass(frozen=True)
class Manifest:
    """The files of a bundle with their SHA-256 in hex, and how to use them.

    `inputs` are the `.npy` files of the golden samples by the input names of the signature, `outputs` what the variant
    must answer to them. `unbatched_inputs` and `unbatched_outputs` are as in `job.Job`. `preprocessing` and
    `postprocessing` are for people. `budgets` are those that the verdict was judged by, by the names of options.
    `pixels` has the inputs that take uint8 pixels: the variant itself makes (pixel - `mean`) / `std` of them, lists of
    one number or one for each channel.
    """

    schema: int
    variant: str
    scheme: str | None
    signature: str | None
    model: str
    inputs: dict[str, str]
    outputs: list[GoldenOutput]
    unbatched_inputs: list[str]
    unbatched_outputs: list[str]
    labels: str | None
    preprocessing: str
    postprocessing: str
    files: dict[str, str]
    budgets: dict[str, float | None]
    provenance: Provenance
    pixels: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        return json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False)


def parse_manifest(text: bytes) -> Manifest:
    """The manifest of this text; keys that this version does not know are left out.

    Raises ValueError for what is not a manifest of this schema, or is not whole, and the errors of json.
    """
    fields = json.loads(text)
    if not isinstance(fields, dict) or fields.get("schema") not in _READ:
        found = fields.get("schema") if isinstance(fields, dict) else None
        raise ValueError(f"its manifest has schema {found!r}, this version reads {' and '.join(map(str, _READ))}")
    try:
        outputs = [GoldenOutput(**_known(one, GoldenOutput)) for one in fields["outputs"]]
        provenance = Provenance(**_known(fields["provenance"], Provenance))
        parts = {"outputs": outputs, "provenance": provenance}
        parts["pixels"] = {} if fields["schema"] == _WITHOUT_PIXELS else fields["pixels"]
        manifest = Manifest(**{**_known(fields, Manifest), **parts})
        _check(manifest)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"its manifest is not whole: {error}") from error
    return manifest


def _known(fields: Any, kind: type[Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in fields.items() if name in names}


def _check(manifest: Manifest) -> None:
    """Raise ValueError for values that no manifest has."""
    named = [manifest.model, *manifest.inputs.values(), *(one.file for one in manifest.outputs)]
    named += [one.shapes for one in manifest.outputs if one.shapes is not None]
    if not set(named) <= set(manifest.files):
        raise ValueError("its manifest is not whole: it names files without a digest")
    texts = [*manifest.files, *manifest.files.values(), *manifest.inputs, *(one.name for one in manifest.outputs)]
    texts += [manifest.variant, manifest.preprocessing, manifest.postprocessing]
    texts += [*manifest.unbatched_inputs, *manifest.unbatched_outputs]
    texts += [one for one in (manifest.scheme, manifest.signature, manifest.labels) if one is not None]
    texts += [value for name, value in vars(manifest.provenance).items() if name != "median_ms"]
    if not all(isinstance(one, str) for one in texts):
        raise ValueError("its manifest has names that are none")
    numbers = [one for one in (manifest.provenance.median_ms, *manifest.budgets.values()) if one is not None]
    numbers += [one.tolerance for one in manifest.outputs]
    numbers += [number for one in manifest.pixels.values() for number in (*one["mean"], *one["std"])]
    if not all(type(one) in (int, float) and not abs(one) > _LARGEST for one in numbers):  # NaN is compared later
        raise ValueError("its manifest has numbers that are none")
