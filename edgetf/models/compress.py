"""tfmot's three ways to make a trained Keras 2 model smaller, and their combinations, in the order that keeps all.

Pruning comes first, then clustering that leaves the zeros alone, then quantization-aware training that leaves zeros
and clusters alone (tensorflow.org/model_optimization, "collaborative optimization"). tfmot knows Keras 2 only
(`tf_keras`): the process has TF_USE_LEGACY_KERAS=1 before TensorFlow is imported.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
from tensorflow_model_optimization.python.core.clustering.keras.clustering_registry import ClusteringRegistry
from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster
from tensorflow_model_optimization.python.core.quantization.keras import quant_ops
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.cluster_preserve.cluster_utils import (
    strip_clustering_cqat,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_transforms
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit.default_8bit_quantize_registry import (
    Default8BitQuantizeRegistry,
)
from tensorflow_model_optimization.python.core.quantization.keras.experimental.default_n_bit.default_n_bit_quantize_configs import (  # noqa: E501
    DefaultNBitOutputQuantizeConfig,
)
from tensorflow_model_optimization.python.core.quantization.keras.graph_transformations.transforms import LayerPattern
from tensorflow_model_optimization.python.core.sparsity.keras.prune_registry import PruneRegistry

from edgetf.errors import EdgetfError
from edgetf.models.compression import Compression

layers = tf.keras.layers
# trains the model in place for one stage, with callbacks that the stage needs
Fit = Callable[[Any, Sequence[Any]], None]


@dataclass(frozen=True)
class Stage:
    """One way to make the model smaller: `run` takes the model and what trains it, and returns another."""

    name: str
    run: Callable[[Any, Fit], Any]


def stages(compression: Compression, steps: int, calibration: Sequence[Any]) -> list[Stage]:
    """The stages that were asked for, in the order that keeps all; each trains for `steps` batches.

    `calibration` are batches of inputs, which the ranges of int8 start from.
    """
    found = []
    if (sparsity := compression.prune) is not None:
        found.append(Stage("pruning", lambda model, fit: prune(model, sparsity, steps, fit)))
    if (clusters := compression.cluster) is not None:
        found.append(Stage("clustering", lambda model, fit: cluster_weights(model, clusters, fit)))
    if compression.qat:
        found.append(Stage("training for int8", lambda model, fit: train_int8(model, compression, calibration, fit)))
    return found


def check_supported(model: Any, compression: Compression) -> None:
    """Raise EdgetfError for a model that tfmot does not support, with the reason."""
    check_graph(model)
    if compression.qat:
        for layer in model.layers:
            if layer.weights and not _trains_int8(layer):
                reason = f"tfmot cannot train {type(layer).__name__} ({layer.name}) for int8"
                raise EdgetfError(reason, "quantize after training instead: edgetf convert --scheme int8")

    for asked, registry, verb in (
        (compression.prune, PruneRegistry, "prune"),
        (compression.cluster, ClusteringRegistry, "cluster"),
    ):
        if asked is not None and not any(registry.supports(layer) and _kernels(layer) for layer in model.layers):
            reason = f"tfmot can {verb} no layer of {model.name}"
            raise EdgetfError(reason, "it knows Keras's own layers with weights: Dense, Conv2D, LSTM and others")


def check_graph(model: Any) -> None:
    """Raise EdgetfError for a model that is not sequential or functional, has no inputs yet, or several outputs."""
    if not getattr(model, "inputs", None) or not _is_graph(model):
        name = getattr(model, "name", type(model).__name__)
        reason = f"{name} is a subclassed model or has no inputs yet; tfmot takes sequential and functional ones only"
        raise EdgetfError(reason, "build it with tf.keras.Sequential (and an Input) or tf.keras.Model(inputs, outputs)")
    if len(model.outputs) != 1:
        reason = f"{model.name} has {len(model.outputs)} outputs, and the labels are for one"
        raise EdgetfError(reason, "give the part of the model that the labels are for")


def prune(model: Any, sparsity: float, steps: int, fit: Fit) -> Any:
    """`model` with the smallest `sparsity` of each layer's weights at 0; they go over three quarters of `steps`."""
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        0.0, sparsity, 0, max(1, steps * 3 // 4), frequency=max(1, steps // 50)
    )

    def wrap(layer: Any) -> Any:
        if _kernels(layer) and PruneRegistry.supports(layer):
            return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule)
        return layer

    wrapped = tf.keras.models.clone_model(model, clone_function=wrap)
    fit(wrapped, [tfmot.sparsity.keras.UpdatePruningStep()])
    return tfmot.sparsity.keras.strip_pruning(wrapped)


def cluster_weights(model: Any, clusters: int, fit: Fit) -> Any:
    """`model` with at most `clusters` distinct weights in each layer; zeros stay if a layer has been pruned."""
    centroids = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS

    def wrap(layer: Any) -> Any:
        # a layer with few weights for each cluster would lose much and save nothing
        if not ClusteringRegistry.supports(layer) or sum(k.size for k in _kernels(layer)) < 8 * clusters:
            return layer
        return cluster.cluster_weights(layer, clusters, centroids, preserve_sparsity=_sparsity([layer]) > 0)

    wrapped = tf.keras.models.clone_model(model, clone_function=wrap)
    fit(wrapped, [])
    return tfmot.clustering.keras.strip_clustering(wrapped)


def train_int8(model: Any, compression: Compression, calibration: Sequence[Any], fit: Fit) -> Any:
    """`model` trained with int8 arithmetic faked in its graph: what TFLite will compute is what it learns with.

    `calibration` are batches of inputs, which the ranges start from.
    """
    keras, combine = tfmot.quantization.keras, tfmot.experimental.combine
    scheme: Any = None
    if compression.cluster is not None:
        scheme = combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=compression.prune is not None)
    elif compression.prune is not None:
        scheme = combine.Default8BitPrunePreserveQuantizeScheme()

    def annotate(layer: Any) -> Any:
        if isinstance(layer, layers.InputLayer):
            return layer
        known = Default8BitQuantizeRegistry().supports(layer) or _is_folded(layer)
        return keras.quantize_annotate_layer(layer, None if known else DefaultNBitOutputQuantizeConfig())

    annotated = tf.keras.models.clone_model(model, clone_function=annotate)
    with keras.quantize_scope(), _only_floats_quantized():
        trained = keras.quantize_apply(annotated, scheme) if scheme else keras.quantize_apply(annotated)
    wrapped = [getattr(wrapper, "layer", None) for wrapper in trained.layers]
    norms = [layer for layer in wrapped if isinstance(layer, layers.BatchNormalization)]
    for norm in norms:
        norm.trainable = False  # it will be folded into the convolution: what is trained is what will run
    _start_ranges(trained, calibration)
    fit(trained, [])
    for norm in norms:
        norm.trainable = True  # tf_keras 2.21 cannot save what is frozen inside of wrappers to .h5
    return strip_clustering_cqat(trained) if compression.cluster is not None else trained


@contextlib.contextmanager
def _only_floats_quantized() -> Iterator[None]:
    """Leave integer inputs, such as pixels and ids, unchanged: tfmot (0.8.1) would fake their quantization,
    for which TensorFlow has no kernel."""
    kept = default_8bit_transforms.InputLayerQuantize.pattern
    default_8bit_transforms.InputLayerQuantize.pattern = lambda self: LayerPattern("InputLayer", {"dtype": "float.*"})
    try:
        yield
    finally:
        default_8bit_transforms.InputLayerQuantize.pattern = kept


def _start_ranges(model: Any, calibration: Sequence[Any]) -> None:
    """Take the first ranges of activations from data.

    tfmot (0.8.1) starts them all at -6 to 6 and moves them by a thousandth a batch: a short training would end
    long before they fit.
    """
    slow = quant_ops.MovingAvgQuantize
    try:
        for number, batch in enumerate(calibration):
            quant_ops.MovingAvgQuantize = partial(_with_decay, slow, 0.9 if number else 0.0)
            model(batch, training=True)
    finally:
        quant_ops.MovingAvgQuantize = slow


def _with_decay(quantize: Callable[..., Any], decay: float, *arguments: Any, **options: Any) -> Any:
    return quantize(*arguments, **{**options, "ema_decay": decay})


def figures(model: Any) -> dict[str, float]:
    """`weight_sparsity`: the share of 0 among kernels; `most_distinct_weights`: in any kernel."""
    kernels = [kernel for layer in model.layers for kernel in _kernels(layer)]
    distinct = max((np.unique(kernel).size for kernel in kernels), default=0)
    return {"weight_sparsity": round(_sparsity(model.layers), 4), "most_distinct_weights": float(distinct)}


def _is_graph(model: Any) -> bool:
    return isinstance(model, tf.keras.Sequential) or bool(getattr(model, "_is_graph_network", False))


def _trains_int8(layer: Any) -> bool:
    known = Default8BitQuantizeRegistry().supports(layer)
    return known or isinstance(layer, (layers.BatchNormalization, layers.InputLayer))


def _is_folded(layer: Any) -> bool:
    """Whether this is a batch norm right behind a linear convolution or dense layer, which it becomes a part of."""
    if not isinstance(layer, layers.BatchNormalization):
        return False
    before = layer.inbound_nodes[0].inbound_layers
    kinds = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
    return isinstance(before, kinds) and before.activation is tf.keras.activations.linear


def _kernels(layer: Any) -> list[Any]:
    """A layer's weights of two and more axes, as arrays."""
    return [weight.numpy() for weight in layer.weights if len(weight.shape) >= 2]


def _sparsity(of: Sequence[Any]) -> float:
    kernels = [kernel for layer in of for kernel in _kernels(layer)]
    total = sum(kernel.size for kernel in kernels)
    return sum(int((kernel == 0).sum()) for kernel in kernels) / total if total else 0.0
