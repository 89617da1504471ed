"""`edgetf reference`."""

from __future__ import annotations

from pathlib import Path

import click

from edgetf.cli.console import (
    PATH,
    escape,
    force_option,
    json_option,
    labels_option,
    nan_option,
    print_lines,
    trust_option,
)
from edgetf.cli.fleet import certificates_option, scheduler_option


@click.command()
@click.argument("model")
@click.option("--samples", metavar="SOURCE", required=True, help="The samples to run, such as test.npz.")
@click.option("-o", "--out", type=PATH, required=True, help="Folder for reference.json and the outputs.")
@click.option(
    "--on",
    default="auto",
    show_default=True,
    metavar="PLACE",
    help="Where TensorFlow runs: auto (a GPU if available), gpu, cpu, or serving:URL.",
)
@click.option("--signature", metavar="NAME", help="The signature to run. [default: serving_default, or the only one]")
@labels_option
@nan_option
@trust_option
@scheduler_option
@certificates_option
@click.option("--mixed-hosts", is_flag=True, help="Also use workers with other outputs: more noise.")
@force_option
@json_option
def reference(
    model: str,
    samples: str,
    out: Path,
    on: str,
    signature: str | None,
    labels_are: str | None,
    allow_nan: bool,
    trust: bool,
    scheduler: str | None,
    certificates: Path | None,
    mixed_hosts: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Run MODEL in TensorFlow and store its outputs, to compare variants with.

    TensorFlow computes in float32 with TF32 off, on a GPU if available. With labels in the samples (under `labels`),
    `edgetf benchmark` compares accuracies. With serving:URL, TensorFlow Serving computes the outputs, over REST or
    gRPC. MODEL is a SavedModel folder, a .keras or an .h5 file, or hub:PATH_OR_HANDLE, a model of TensorFlow Hub.
    Outputs are written during the run, and an interrupted run is resumed. A model with random outputs, or whose outputs
    depend on the other samples of a batch, is reported.

    With --scheduler, its workers that compute references share the samples, in ranges of whole batches. Each first
    computes the first batch: a worker whose outputs differ is refused, so that the result is that of one machine, bit
    by bit; with --mixed-hosts its difference becomes part of the noise.

    \b
    Example:
      edgetf reference saved_model --samples test.npz -o ref
      edgetf reference model.keras --samples test.npz -o ref
      edgetf reference saved_model --samples test.npz -o ref --on serving:http://gpu-host:8501/v1/models/digits
      edgetf reference saved_model --samples test.npz -o ref --on serving:grpc://gpu-host:8500/digits
      edgetf reference saved_model --samples test.npz -o ref --scheduler tls://lab:8786
    """
    from edgetf.api.reference import PLACES, SERVING
    from edgetf.api.reference import reference as run
    from edgetf.api.tables.reference import show_reference
    from edgetf.files import to_text
    from edgetf.texts import without_secrets

    if not on.startswith(SERVING) and on not in PLACES:
        named = without_secrets(repr(on))
        raise click.BadParameter(f"{named} is not one of auto, gpu, cpu and serving:URL", param_hint="--on")
    made = run(
        model,
        samples,
        out,
        on=on,
        signature=signature,
        labels_are=labels_are,
        allow_nan=allow_nan,
        trust=trust,
        scheduler=scheduler,
        certificates=certificates,
        mixed_hosts=mixed_hosts,
        force=force,
    ).document
    if as_json:
        click.echo(to_text(made), nl=False)
        return
    show_reference(made)
    print_lines(f"Written to {escape(str(out))}")
