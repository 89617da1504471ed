"""`edgetf explain`."""

from __future__ import annotations

from pathlib import Path

import click

from edgetf.cli.budgets import UNDECIDED
from edgetf.cli.console import PATH, Number, json_option, no_wait_option, trust_option
from edgetf.defaults import MAX_DROP


@click.command(
    help=f"""Find the step that broke a variant, and the layers with the largest errors.

    The steps are: the Keras file (if given), the SavedModel, float32 and the quantized variant on this machine, the
    device. The command reports the first step that failed, and the share of the error that each step adds. The result
    is stored beside BENCH, and `edgetf report` shows it. Exit code: 0 no step failed, 3 a step failed,
    {UNDECIDED}.

    \b
    Example:
      edgetf explain bench --variant int8 --variants out --reference ref
    """
)
@click.argument("bench", type=PATH)
@click.option("--variant", required=True, metavar="NAME", help="The variant to follow.")
@click.option("--variants", type=PATH, multiple=True, required=True, help="Folder of the .tflite files.")
@click.option("--reference", type=PATH, required=True, help="The reference of the benchmark.")
@click.option("--samples", metavar="SOURCE", help="The samples. [default: those of the reference]")
@click.option("--keras", type=PATH, help="The Keras file, to check the export too.")
@click.option("--layers/--no-layers", default=True, show_default=True, help="Also measure each layer separately.")
@click.option("--node-data", type=PATH, metavar="FILE", help="Write the layers for Model Explorer.")
@click.option(
    "--max-drop", type=Number(0), metavar="POINTS", help=f"Accuracy that may be lost. [default: {MAX_DROP:g}]"
)
@no_wait_option
@trust_option
@json_option
def explain(
    bench: Path,
    variant: str,
    variants: tuple[Path, ...],
    reference: Path,
    samples: str | None,
    keras: Path | None,
    layers: bool,
    node_data: Path | None,
    max_drop: float | None,
    no_wait: bool,
    trust: bool,
    as_json: bool,
) -> int:
    from edgetf.api.explain import explain as run
    from edgetf.api.tables.explanation import show_ladder, show_layers
    from edgetf.files import to_text

    found = run(
        bench,
        variant=variant,
        variants=variants,
        reference=reference,
        samples=samples,
        keras=keras,
        layers=layers,
        node_data=node_data,
        max_drop=max_drop,
        no_wait=no_wait,
        trust=trust,
    )
    if as_json:
        click.echo(to_text({"ladder": found.ladder, "layers": found.layers}), nl=False)
    else:
        show_ladder(found.ladder)
        show_layers(found.layers)
    return found.exit_code
