"""To TensorFlow Serving: a model as MODELS_DIR/NAME/N, N a number, which a running server finds by itself.

A version appears under its number only when it is complete and was loaded once: a server reads the folder every second.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from edgetf import files
from edgetf.backend import load_tensorflow
from edgetf.conversion import keras_file
from edgetf.conversion.effects import refuse_effects
from edgetf.errors import EdgetfError
from edgetf.events import OnEvent, Phase
from edgetf.models.export import export_file, export_trained

_SIGNATURE = "serving_default"


def export_for_serving(
    model: str, base: Path, version: int | None, force: bool, on_event: OnEvent, *, trust: bool = False
) -> Path:
    """Export `model` (a Keras file, a SavedModel folder, or a name of the zoo) into `base`; returns its folder.

    `version` is by default the next free number. Raises EdgetfError for a version that is there and not `force`, and
    for a model without the signature that a server asks for.
    """
    number = _next_version(base) if version is None else version
    with files.staged(base, [str(number)], force) as staging:
        place = staging / str(number)
        if keras_file.is_keras_file(Path(model)):
            export_file(Path(model), place, False, on_event, trust=trust)
        elif (Path(model) / "saved_model.pb").is_file():
            refuse_effects(Path(model), trust)  # a copy has files in place of links
            shutil.copytree(model, place)
        else:
            export_trained(model, place, False, on_event)
        refuse_effects(place, trust)
        on_event(Phase("loading it back"))
        _check(place)
    return base / str(number)


def _next_version(base: Path) -> int:
    numbers = [int(child.name) for child in base.iterdir() if child.name.isdigit()] if base.is_dir() else []
    return max(numbers, default=0) + 1


def _check(place: Path) -> None:
    """Load the SavedModel and call it once, as a server will."""
    tf = load_tensorflow()
    loaded = tf.saved_model.load(str(place))
    if _SIGNATURE not in loaded.signatures:
        known = ", ".join(loaded.signatures) or "none"
        raise EdgetfError(f"the model has no signature {_SIGNATURE!r} for a server to ask", f"it has: {known}")
    function = loaded.signatures[_SIGNATURE]
    inputs = {name: _zeros(tf, spec) for name, spec in function.structured_input_signature[1].items()}
    try:
        function(**inputs)
    except tf.errors.OpError as error:
        reason = str(error).splitlines()[0]
        raise EdgetfError(f"the exported model does not run: {reason}", "export it again, and run it before") from error


def _zeros(tf: Any, spec: Any) -> Any:
    return tf.zeros([axis or 1 for axis in spec.shape], spec.dtype)
