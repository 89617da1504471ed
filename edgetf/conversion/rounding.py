"""Rounding of weights to the steps of a scale: to the nearest, or so that a layer's results stay near.

`round_for_inputs` is the closed form of GPTQ (Frantar et al., GPTQ: Accurate Post-Training Quantization, ICLR 2023) in
the equivalent form of Chee et al. (QuIP, NeurIPS 2023, LDLQ): weights are rounded one tap after another, and each
compensates the error of the result that the taps before it have left. numpy alone; no training, no gradients.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Levels = NDArray[np.int8]
MOST = 127  # steps to either side: kernels take weights as symmetric
_DAMPING = 1e-2  # of the mean power of an input, as in the paper
_BLOCK = 64  # taps whose errors are propagated together, by one product of matrices


def symmetric_scales(weights: NDArray[Any], axis: int) -> NDArray[np.float32]:
    """The scale of each channel along `axis`: its largest magnitude is step 127."""
    others = tuple(k for k in range(weights.ndim) if k != axis)
    largest = np.abs(weights).max(axis=others)
    return np.where(largest > 0, largest / MOST, 1.0).astype(np.float32)


def round_to_nearest(weights: NDArray[Any], scales: NDArray[Any]) -> Levels:
    """The nearest steps; `scales` are of a shape that broadcasts to that of `weights`."""
    levels: Levels = np.clip(np.rint(weights.astype(np.float64) / scales), -MOST, MOST).astype(np.int8)
    return levels


def round_for_inputs(weights: NDArray[Any], scales: NDArray[Any], power: NDArray[Any]) -> Levels:
    """The steps with which the layer's results have a small error on its inputs.

    `weights` (groups, rows, taps) are multiplied by the taps of their group's input; `scales` (groups, rows);
    `power` (groups, taps, taps) is the sum over inputs x of x x^T (1 group if all share it). The minimized value is
    e^T power e for the error e of each row.
    """
    order, factor = _factor(power)
    groups, rows, taps = weights.shape
    order = np.broadcast_to(order, (groups, taps))
    exact = np.take_along_axis(weights.astype(np.float64), order[:, None, :], axis=2)
    exact = np.ascontiguousarray(exact.transpose(0, 2, 1))  # a tap is a row: (groups, taps, rows)
    steps = scales.astype(np.float64).reshape(groups, rows)
    error = np.zeros_like(exact)
    levels = np.zeros((groups, taps, rows), np.int8)
    for begin in range(0, taps, _BLOCK):
        block = slice(begin, min(begin + _BLOCK, taps))
        before = factor[:, :begin, block].transpose(0, 2, 1) @ error[:, :begin]
        for k in range(block.start, block.stop):
            inside = factor[:, begin:k, k][:, None, :] @ error[:, begin:k]
            target = exact[:, k] + before[:, k - begin] + inside[:, 0]
            level = np.clip(np.rint(target / steps), -MOST, MOST)
            levels[:, k] = level
            error[:, k] = exact[:, k] - level * steps
    back = np.empty_like(levels)
    np.put_along_axis(back, order[:, :, None], levels, axis=1)
    return back.transpose(0, 2, 1)


def _factor(power: NDArray[Any]) -> tuple[NDArray[np.intp], Doubles]:
    """The order of the taps (the strongest input first), and how much each compensates of the errors before it.

    With power = R R^T, R upper triangular, the error of a row is |e R|^2: its k-th term is
    (e_k + sum over j < k of e_j R_jk / R_kk) R_kk, which tap k makes as small as its steps allow.
    """
    power = power.astype(np.float64)
    taps = power.shape[-1]
    diagonal = np.einsum("gkk->gk", power)
    mean = diagonal.mean(axis=1, keepdims=True)
    damped = power + (_DAMPING * np.where(mean > 0, mean, 1.0))[:, :, None] * np.eye(taps)
    order = np.argsort(-diagonal, axis=1, kind="stable")
    damped = np.take_along_axis(np.take_along_axis(damped, order[:, :, None], 1), order[:, None, :], 2)
    lower = np.linalg.cholesky(damped[:, ::-1, ::-1])
    upper = lower[:, ::-1, ::-1]
    return order, upper / np.einsum("gkk->gk", upper)[:, None, :]
