"""Playing CartPole: a policy in, the return of each episode out.

A policy is a Keras model, or a variant on a device's runner (`edgetf.device.greedy`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.errors import MissingExtraError

GAME, INPUT = "CartPole-v1", "observation"
Observation = NDArray[np.float32]
Policy = Callable[[Observation], int]  # an observation of shape (4,) to 0, left, or 1, right


def make_game() -> Any:
    try:
        import gymnasium
    except ModuleNotFoundError as error:
        raise MissingExtraError("gymnasium", "models") from error
    return gymnasium.make(GAME)


def play(policy: Policy, episodes: int, seed: int) -> tuple[NDArray[np.float64], Observation]:
    """The return of each episode, and all observations that were met, (n, 4). The same seed gives the same starts."""
    game, returns, met = make_game(), np.zeros(episodes), []
    for episode in range(episodes):
        observation, _ = game.reset(seed=seed + episode)
        over = False
        while not over:
            met.append(observation.astype(np.float32))
            observation, reward, fallen, late, _ = game.step(policy(met[-1]))
            returns[episode] += reward
            over = fallen or late
    return returns, np.stack(met)


def policy_of_model(model: Any) -> Policy:
    """The greedy policy of a Keras model that gives the value of each action."""
    import tensorflow as tf

    values = tf.function(lambda x: tf.argmax(model(x, training=False)[0]))
    return lambda observation: int(values(tf.constant(observation[None])))
