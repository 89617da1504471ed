"""Deep Q-learning: a network learns what each action is worth in CartPole, from a replay memory and a target network.

It plays with fewer and fewer random moves, remembers what happened, and learns from what it remembers: the worth of an
action is its reward and the worth, by an older copy of itself, of the best action after it. It is done when it holds
the pole up in ten games without a random move. The states that it then meets, labelled with its own moves, show whether
a variant acts alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from edgetf.models.cartpole import INPUT, make_game, play, policy_of_model
from edgetf.models.epochs import Epochs
from edgetf.models.replay import Replay
from edgetf.models.run import Run
from edgetf.models.zoo import Data, Trained
from edgetf.samples import Samples, make_samples

keras = tf.keras
SEED, EPISODES, LEARNING_RATE, DISCOUNT, BATCH = 1, 400, 1e-3, 0.99, 64
RANDOM_MOVES, FEWEST, TARGET_EVERY, CHECK_EVERY = 0.96, 0.02, 200, 20  # shrinking per episode; steps; episodes
GAMES, TEST_SEED = 100, 10_000
ROWS = 2000


def build() -> Any:
    dense = keras.layers.Dense
    hidden = [dense(64, activation="relu"), dense(64, activation="relu")]
    return keras.Sequential([keras.Input((4,), name=INPUT), *hidden, dense(2, name="value")], name="dqn")


def load_data() -> Data:
    """States of games played by a simple rule, push where the pole falls, and its moves. `train` has its own."""

    def rule(observation: Any) -> int:
        return int(observation[2] + observation[3] > 0)

    return Data(*(_samples("a rule of thumb", play(rule, 20, seed)[1], rule) for seed in (0, 100)))


def train(data: Data, run: Run) -> Trained:
    run.on_one_device("dqn")
    keras.utils.set_random_seed(SEED)
    model, target, memory, optimizer = build(), build(), Replay(20_000), keras.optimizers.Adam(LEARNING_RATE)
    optimizer.build(model.trainable_variables)
    solved = tf.Variable(False)
    state = {"model": model, "target": target, "optimizer": optimizer, "memory": memory, "solved": solved}
    episodes = Epochs(run, EPISODES, every=CHECK_EVERY, **state)
    learn, greedy, game = _learner(model, target, optimizer), policy_of_model(model), make_game()
    for episode in episodes.left():
        if solved:
            break
        random = np.random.default_rng([SEED, episode])
        share = max(FEWEST, RANDOM_MOVES**episode)
        observation, _ = game.reset(seed=episode)
        total, over = 0.0, False
        while not over:
            action = int(random.integers(2)) if random.random() < share else greedy(observation)
            after, reward, fallen, late, _ = game.step(action)
            steps = memory.add(observation, action, reward, after, fallen)
            observation, over, total = after, fallen or late, total + reward
            if steps >= 500:
                learn(*memory.draw(random, BATCH))
            if steps % TARGET_EVERY == 0:
                target.set_weights(model.get_weights())
        if (episode + 1) % CHECK_EVERY == 0:
            solved.assign(play(greedy, 10, 1000)[0].mean() >= 475)  # of 500: the game's own mark
        episodes.done(episode, episode_return=total)
    returns, met = play(greedy, GAMES, TEST_SEED)
    seen = Data(_samples("CartPole", play(greedy, 20, 2000)[1], greedy), _samples("CartPole", met, greedy))
    return Trained(model, {"mean_return": float(returns.mean()), "least_return": float(returns.min())}, seen)


def _learner(model: Any, target: Any, optimizer: Any) -> Any:
    @tf.function  # type: ignore[untyped-decorator]
    def learn(states: Any, actions: Any, rewards: Any, after: Any, fallen: Any) -> None:
        best = tf.argmax(model(after), axis=1)  # chosen by the one, valued by the other (double Q-learning)
        worth = rewards + DISCOUNT * (1.0 - fallen) * tf.gather(target(after), best, batch_dims=1)
        with tf.GradientTape() as tape:
            value = tf.gather(model(states), actions, batch_dims=1)
            loss = tf.reduce_mean(keras.losses.huber(worth[:, None], value[:, None]))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    return learn


def _samples(source: str, met: Any, policy: Any) -> Samples:
    rows = np.random.default_rng(0).permutation(len(met))[:ROWS]
    return make_samples(f"states met by {source}", {INPUT: met[rows]}, np.array([policy(met[k]) for k in rows]))
