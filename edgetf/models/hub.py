"""A SavedModel, of TensorFlow Hub or any other, as a Keras layer to build on and to fine-tune.

Keras 3's own TFSMLayer does it, with the names of its variables corrected: it trains the variables of the loaded
function themselves. `hub.KerasLayer` is for Keras 2 only (tensorflow-hub 0.16 imports tf_keras), whose models cannot
share a process with those of Keras 3. It computes while training what was saved: batch norm and dropout run as in
inference, as is usual for fine-tuning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetf.backend import load_tensorflow
from edgetf.conversion.effects import refuse_effects
from edgetf.conversion.hub import find_model
from edgetf.errors import EdgetfError

_ENDPOINTS = ("__call__", "serve", "serving_default")  # reusable SavedModels, model.export, any with a signature


def hub_layer(place: str | Path, trainable: bool = True, endpoint: str | None = None, *, trust: bool = False) -> Any:
    """A Keras 3 layer that computes what the SavedModel at `place` (a path, `hub:PATH` or `hub:HANDLE`) does.

    It takes one tensor, or a dict of them if the endpoint does. `endpoint` is by default the first existing one of
    `__call__`, `serve` and `serving_default`. Raises EdgetfError if there is none, or nothing to train, and for a
    model that reaches outside of its graph unless `trust`.
    """
    tf = load_tensorflow()
    folder = find_model(place)
    refuse_effects(folder, trust)
    try:
        loaded = tf.saved_model.load(str(folder))
    except (OSError, ValueError) as error:
        raise EdgetfError(f"{folder} is not a SavedModel", "give a folder with saved_model.pb") from error
    known = [name for name in _ENDPOINTS if _has(loaded, name)]
    chosen = endpoint or (known[0] if known else None)
    if chosen is None or not _has(loaded, chosen):
        listed = ", ".join(known) or "none"
        raise EdgetfError(f"{folder} has no endpoint {chosen or _ENDPOINTS[0]}", f"known: {listed}")
    layer = _layer_class()(str(folder), call_endpoint=chosen, trainable=trainable)
    if trainable and not layer.trainable_variables:
        hint = "use trainable=False, or export it with its variables (model.export, tf.saved_model.save of a module)"
        raise EdgetfError(f"{folder} has no variables to train", hint)
    return layer


def _layer_class() -> Any:
    import keras

    class SavedModelLayer(keras.layers.TFSMLayer):  # type: ignore[misc]
        def _add_existing_weight(self, weight: Any) -> None:
            """As in Keras 3.15, without the ":0" of TensorFlow's names, which Keras's optimizers refuse."""
            name = weight.name.partition(":")[0].replace("/", "_")
            kept = {"trainable": weight.trainable, "dtype": weight.dtype, "shape": weight.shape}
            self._track_variable(keras.Variable(initializer=weight, name=name, **kept))

    return SavedModelLayer


def _has(loaded: Any, name: str) -> bool:
    """Whether it was saved: any loaded object can be called, with an error if nothing was."""
    function = type(loaded).__call__ if name == "__call__" and callable(loaded) else getattr(loaded, name, None)
    return function is not None or name in loaded.signatures
