from __future__ import annotations

import numpy as np

from edgetf.models.linear import LEARNING_RATE, STEPS, load_data, train
from edgetf.models.run import QUIET


def test_training_reaches_the_weights_of_gradient_descent_worked_out_by_hand() -> None:
    """Both rows step by step in float64: w -= rate * 2/n * X^T (X w + b - y), b -= rate * 2/n * sum(X w + b - y)."""
    x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    y = np.array([[10.0], [20.0]])
    w, b = np.zeros((3, 1)), np.zeros(1)
    for _ in range(STEPS):
        error = x @ w + b - y
        w, b = w - LEARNING_RATE * x.T @ error, b - LEARNING_RATE * error.sum(axis=0)
    trained = train(load_data(), QUIET)
    kernel, bias = (variable.numpy() for variable in trained.model.trainable_variables)
    np.testing.assert_allclose(kernel, w, atol=1e-5)
    np.testing.assert_allclose(bias, b, atol=1e-5)
    assert trained.metrics["test_mean_squared_error"] < 0.2
