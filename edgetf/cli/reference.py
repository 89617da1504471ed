"""`edgetf reference`."""

from __future__ import annotations

from pathlib import Path

import click

from edgetf.cli.console import PATH, escape, force_option, json_option, print_lines, progress


@click.command()
@click.argument("saved_model")
@click.option("--samples", metavar="SOURCE", required=True, help="The samples to run, such as test.npz.")
@click.option("-o", "--out", type=PATH, required=True, help="Folder for reference.json and the outputs.")
@click.option(
    "--on",
    default="auto",
    show_default=True,
    metavar="PLACE",
    help="Where TensorFlow runs: auto (a GPU where there is one), gpu, cpu, or serving:URL.",
)
@click.option("--signature", metavar="NAME", help="The signature to run. [default: serving_default, or the only one]")
@force_option
@json_option
def reference(
    saved_model: str, samples: str, out: Path, on: str, signature: str | None, force: bool, as_json: bool
) -> None:
    """Run SAVED_MODEL in TensorFlow and pin down what it says, for variants to be compared with.

    Float32 with TF32 off, on a GPU where TensorFlow finds one. Labels in the samples (under `labels`) let
    `edgetf benchmark` compare accuracies. With serving:URL a running TensorFlow Serving answers, over REST or gRPC.
    SAVED_MODEL may also be hub:PATH_OR_HANDLE, a model of TensorFlow Hub.
    Outputs are written as they come; a run that was interrupted goes on where it stopped.

    \b
    Example:
      edgetf reference saved_model --samples test.npz -o ref
      edgetf reference saved_model --samples test.npz -o ref --on serving:http://gpu-host:8501/v1/models/digits
      edgetf reference saved_model --samples test.npz -o ref --on serving:grpc://gpu-host:8500/digits
    """
    from edgetf.benchmarks.reference import Place, ReferenceOptions, make_reference
    from edgetf.convert.hub import find_model
    from edgetf.files import to_text

    url = on.removeprefix("serving:") if on.startswith("serving:") else None
    if url is None and on not in [place.value for place in Place]:
        raise click.BadParameter(f"{on!r} is none of auto, gpu, cpu and serving:URL", param_hint="--on")
    options = ReferenceOptions(Place.AUTO if url else Place(on), url, signature, force)
    with progress("Reference") as on_event:
        made = make_reference(find_model(saved_model), samples, out, options, on_event)
    if as_json:
        click.echo(to_text(made), nl=False)
        return
    ways = "".join(
        f"; {one.batch} at once{', compiled' if one.compiled else ''} {one.latency_ms.median:.3g} ms"
        for one in made.latencies
    )
    noise = [f"{one.way} {max(one.max_abs.values()):.2g}" for one in made.noise if one.max_abs]
    failed = [f"{one.way}: not measured, {one.why_not}" for one in made.noise if one.why_not]
    print_lines(
        f"[bold]{escape(made.device.sentence)}[/]",
        f"{made.samples.n} samples; {made.latency_ms.median:.3g} ms for one alone{ways}",
        f"TensorFlow is this far from itself: {escape('; '.join([*noise, *failed]))}",
        f"Written to {escape(str(out))}",
    )
