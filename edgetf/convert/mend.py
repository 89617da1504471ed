"""Known faults of converted flatbuffers, mended: the flatbuffer in; the mended one, and what was done, out."""

from __future__ import annotations

from edgetf.flatbuffer import count_ops, pack, unpack

_LSTM_OPTIONS = ("LSTMOptions", "UnidirectionalSequenceLSTMOptions", "BidirectionalSequenceLSTMOptions")


def mend(content: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Mend what is known to be wrong, and say what was mended; an unharmed flatbuffer is returned as it is.

    The converter's fused LSTM clips its cell state at 10 (`cellClip`, seen with TensorFlow 2.21). Keras does not clip,
    and trained cells do pass 10: decisions then flip. 0 means no clipping.
    """
    model, schema = unpack(content)
    options = [getattr(schema.BuiltinOptions, name) for name in _LSTM_OPTIONS]
    clipped = [
        operator.builtinOptions
        for graph in model.subgraphs
        for operator in graph.operators or []
        if operator.builtinOptionsType in options and operator.builtinOptions.cellClip
    ]
    if not clipped:
        return content, ()
    for one in clipped:
        one.cellClip = 0.0
    return pack(model), (f"clipping of the cell state taken out of {len(clipped)} LSTM op(s), as Keras has none",)


def has_empty_variables(content: bytes) -> bool:
    """Whether the flatbuffer reads variables that nothing ever fills: they hold NaN, or whatever was there.

    Seen with TensorFlow 2.21 for a Keras 3 model inside of a `tf.Module`: the converter does not freeze its variables.
    """
    ops = set(count_ops(content))
    return "READ_VARIABLE" in ops and "ASSIGN_VARIABLE" not in ops
