"""`edgetf inspect`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgetf.cli.console import Checked, escape, json_option, print_lines, print_table, progress, trust_option

if TYPE_CHECKING:
    from edgetf.conversion.ranges import Ranges
    from edgetf.results import Conversion, TensorSpec


def _refuse_target(target: str) -> None:
    from edgetf.targets.fits import refuse_unknown

    refuse_unknown(target)


@click.command()
@click.argument("what", metavar="VARIANT_OR_MODEL_OR_RESULT")
@click.option("--signature", metavar="NAME", help="The signature of a model or variant. [default: as for convert]")
@click.option(
    "--for",
    "target",
    type=Checked(_refuse_target),
    metavar="TARGET",
    help="Whether variants run there: micro (microcontrollers), or an NPU such as ethos-u55-128.",
)
@trust_option
@json_option
@click.pass_context
def inspect(
    ctx: click.Context, what: str, signature: str | None, target: str | None, trust: bool, as_json: bool
) -> None:
    """Show the content of any file or folder that edgetf reads.

    \b
    a .tflite file         inputs, outputs, quantization, ops, weights
    a SavedModel folder,   inputs and outputs of its signature, and how to save samples for them
      .keras or .h5 file
    a conversion, a reference, a benchmark, a tuning (folder or .json)   its results
    the folder of a benchmark on several devices                         those of each device
    a ranges.json          the range of each activation, and the sample that made it widest
    samples, as for        names, types, shapes, classes
      `edgetf samples show`
    a folder of images     how many there are of each class
    a bundle               its manifest

    \b
    Example:
      edgetf inspect out/int8.tflite
      edgetf inspect model.keras
      edgetf inspect out
      edgetf inspect out --for micro
    """
    from edgetf.api.look import Kind, kind_of

    if target is not None:
        _inspect_fits(Path(what), target, as_json)
        return
    kind = kind_of(what)
    if kind is Kind.MODEL:
        _inspect_model(what, signature, trust, as_json)
    elif kind is Kind.VARIANT:
        _inspect_variant(Path(what), signature, as_json)
    elif kind is Kind.BUNDLE:
        _inspect_bundle(Path(what), as_json)
    elif kind is Kind.IMAGES:
        _inspect_images(what, as_json)
    elif kind is Kind.SAMPLES:
        from edgetf.cli.samples import show

        ctx.invoke(show, source=what, model=None, signature=None, allow_nan=True, trust=trust, as_json=as_json)
    else:
        _inspect_results(Path(what), as_json)


def _inspect_fits(place: Path, target: str, as_json: bool) -> None:
    from edgetf.api.tables.fits import show_fits
    from edgetf.files import to_plain, to_text
    from edgetf.targets.fits import find_fits

    found = find_fits(place, target)
    if as_json:
        plain = {name: to_plain(fit) for name, fit in found.items()}
        click.echo(json.dumps(plain, indent=1) if place.is_dir() else to_text(next(iter(found.values()))).rstrip())
        return
    show_fits(list(found.values()))


def _inspect_variant(variant: Path, signature: str | None, as_json: bool) -> None:
    from edgetf.conversion.contract import smallest_runtimes
    from edgetf.files import to_text
    from edgetf.flatbuffer import read_contents
    from edgetf.units import human_bytes

    contents = read_contents(variant, signature)
    if as_json:
        click.echo(to_text(contents), nl=False)
        return
    rows = []
    for kind, tensors in (("input", contents.inputs), ("output", contents.outputs)):
        for tensor in tensors:
            shape = ", ".join("any" if axis is None else str(axis) for axis in tensor.shape)
            q = tensor.quantization
            quantized = f"scale {q.scale:.6g}, zero point {q.zero_point}" if q else "none"
            rows.append([kind, escape(tensor.name), tensor.dtype, f"\\[{shape}]", quantized])
    oldest = " or ".join(map(str, smallest_runtimes(contents.ops))) or "none of the measured ones"
    signatures = ", ".join(contents.signatures) or "none"
    about = "about " if contents.is_compressed_estimated else ""
    print_lines(
        f"[bold]{escape(str(variant))}[/]: {human_bytes(contents.bytes)} "
        f"({about}{human_bytes(contents.compressed_bytes)} compressed), sha256 {contents.sha256[:12]}…",
        f"signatures: {escape(signatures)}; the oldest runtime that has its ops: {oldest}",
    )
    print_table("Inputs and outputs", ["", "name", "dtype", "shape", "quantization"], rows)
    for name, one in contents.pixels.items():
        print_lines(f"{escape(name)} takes uint8 pixels: the model gets {escape(one.describe())}")
    rows = []
    for op in contents.ops:
        runtimes = " or ".join(map(str, smallest_runtimes([op]))) or "none: custom, or Flex"
        rows.append([escape(op.name), str(op.version), str(op.count), runtimes])
    print_table("Ops", ["op", "version", "count", "oldest runtime"], rows, right=["version", "count"])
    weights = ", ".join(f"{dtype} {human_bytes(size)}" for dtype, size in contents.weights.items())
    zeros = contents.weight_sparsity
    print_lines(f"Constants: {weights or 'none'}" + ("" if zeros is None else f"; {zeros:.1%} of the weights are zero"))


def _inspect_model(what: str, signature: str | None, trust: bool, as_json: bool) -> None:
    from edgetf.conversion.early import refuse_mistakes
    from edgetf.conversion.effects import find_effects
    from edgetf.conversion.hub import find_model
    from edgetf.conversion.keras_file import is_keras_file
    from edgetf.conversion.origin import as_saved_model
    from edgetf.conversion.source_child import read_source_safely
    from edgetf.files import to_text
    from edgetf.texts import without_secrets

    model = find_model(what)
    if is_keras_file(model):
        refuse_mistakes(model, signature, {}, None)
    with progress("Inspecting") as on_event, as_saved_model(model, trust, on_event) as found:
        safe = read_source_safely(found.folder, signature)
        source = replace(safe, path=without_secrets(what), origin=found.origin)
        effects = find_effects(found.folder)
    if as_json:
        click.echo(to_text(source), nl=False)
        return
    print_lines(
        f"[bold]{escape(source.path)}[/]: signature {escape(source.signature)}, digest {source.digest[:12]}",
        *(f"[yellow]export:[/] {escape(note)}" for note in found.origin.notes),
        *(f"[red]needs --trust:[/] {escape(effect.describe())}" for effect in effects),
    )
    rows = [["input", escape(spec.name), escape(spec.describe())] for spec in source.inputs]
    rows += [["output", escape(spec.name), escape(spec.describe())] for spec in source.outputs]
    print_table("Inputs and outputs", ["", "name", "dtype and shape"], rows)
    print_lines(escape(_how_to_save(source.path, source.inputs)))


def _how_to_save(model: str, inputs: Sequence[TensorSpec]) -> str:
    """How samples of a model are saved, as a line of Python if there is one."""
    from edgetf.samples.core import label_name
    from edgetf.samples.load import ALIAS
    from edgetf.samples.saving import needs_flex, savez, why_not

    for spec in inputs:
        if refused := why_not(spec):
            flex = f"; or convert it without samples: edgetf convert {shlex.quote(model)} --select-tf-ops -o OUT"
            return f"No samples for it: {'; '.join(refused)}{flex if needs_flex(inputs) else ''}"
    arrays = {spec.name: f"array.astype({spec.dtype!r})" for spec in inputs}
    labels = {label_name(arrays): "labels"}
    call = savez("samples.npz", {**arrays, **labels})
    if not call and len(arrays) == 1:  # one input may always be called x
        call = savez("samples.npz", {ALIAS: next(iter(arrays.values())), **labels})
    names = ", ".join(map(repr, arrays))
    return f"Samples for it: {call or f'a module:function that returns a dict of arrays, by the names {names}'}"


def _inspect_images(source: str, as_json: bool) -> None:
    """Show how many images a folder has: what they are as samples depends on the model."""
    from edgetf.api.look import count_images
    from edgetf.samples.source import parse_source

    folder, classes = parse_source(source).rest, count_images(source)
    if as_json:
        click.echo(json.dumps({"images": sum(classes.values()), "classes": classes}, indent=1))
        return
    rows = [[escape(name), str(count)] for name, count in classes.items() if name]
    print_lines(f"[bold]{escape(folder)}[/]: {sum(classes.values()):,} images, {len(rows) or 'no'} classes")
    if rows:
        print_table("", ["class", "images"], rows, right=["images"])
    shown = shlex.quote(f"folder:{folder}" if source == folder else source)
    print_lines(f"As samples of a model: edgetf samples show {escape(shown)} --model MODEL")


def _inspect_results(place: Path, as_json: bool) -> None:
    """Show a document of edgetf under any name, a folder of documents, or one of the benchmarks of several devices."""
    from edgetf.api.look import load
    from edgetf.api.results import Bench, PinnedReference, Variants
    from edgetf.api.tables.conversion import show_conversion
    from edgetf.conversion.ranges import Ranges
    from edgetf.files import to_plain, to_text

    found = load(place)
    if as_json:
        documents = [*found.documents.values()] if isinstance(found, Bench) else [getattr(found, "document", found)]
        several = json.dumps([to_plain(one) for one in documents], indent=1) + "\n"
        click.echo(to_text(documents[0]) if len(documents) == 1 else several, nl=False)
    elif isinstance(found, Ranges):
        _show_ranges(found, place)
    elif isinstance(found, Variants):
        show_conversion(found.document, found.folder, everything=False)
        _warn_if_changed(found.document, found.folder)
    else:
        if isinstance(found, PinnedReference):
            print_lines(f"[bold]{escape(found.document.source.path)}[/]")
        found.show()


def _warn_if_changed(conversion: Conversion, out: Path) -> None:
    """Print a line for each variant whose file is missing or has changed."""
    from edgetf.files import sha256_file

    for variant in conversion.variants:
        file = out / (variant.path or "")
        if variant.path is None or variant.sha256 is None:
            continue
        if not file.is_file():
            print_lines(f"[yellow]missing:[/] {escape(str(file))}")
        elif sha256_file(file) != variant.sha256:
            print_lines(f"[yellow]changed:[/] {escape(str(file))} is not the file that edgetf convert wrote")


def _inspect_bundle(file: Path, as_json: bool) -> None:
    from edgetf.api.look import read_manifest
    from edgetf.errors import clean

    manifest = read_manifest(file)
    if as_json:
        click.echo(manifest.to_json())
        return
    rows = [[escape(clean(name)), escape(clean(digest[:12]))] for name, digest in manifest.files.items()]
    known = vars(manifest.provenance).items()
    signed = [[escape(clean(name)), escape(clean(str(value)))] for name, value in known if value is not None]
    print_lines(f"[bold]{escape(str(file))}[/]: {escape(clean(manifest.variant))}")
    print_table("Signed for", ["", ""], signed)
    print_table("Files", ["file", "sha256"], rows)
    texts = [("before", manifest.preprocessing), ("after", manifest.postprocessing)]
    print_lines(*(f"[bold]{name}[/]: {escape(clean(text))}" for name, text in texts if text))
    print_lines("To verify it on a device: python edgetf-runner.pyz verify FILE")


def _show_ranges(ranges: Ranges, file: Path) -> None:
    used, how = ranges.calibration, ranges.choice.describe()
    print_lines(
        f"[bold]{escape(str(file))}[/]: {how}, of {used.n} of {used.samples.n} samples of {escape(used.samples.source)}"
    )
    rows = [
        [escape(one.tensor), f"{one.low:.6g}", f"{one.high:.6g}", str(one.widest_sample), f"{one.stretch:.2f}"]
        for one in ranges.ranges
    ]
    print_table("Ranges", ["tensor", "low", "high", "widest sample", "times the next"], rows, right=["low", "high"])
