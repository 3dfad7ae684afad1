"""Adam beside PyTorch's: how far a few updates move the weights, with what is done differently."""

import itertools
from collections.abc import Iterator

import numpy as np

from diffusion_tf.crosscheck.choices import ADAM_FIELDS, ORIGINAL, Choices, are_original
from diffusion_tf.training.optimizers import TF1Adam
from diffusion_tf.utils.keras_backend import keras


def make_gradients(number: int, random: np.random.Generator) -> np.ndarray:
    """Three gradients of so many weights, rising and falling in every order, float32 [3, number].

    A fall to a hundredth is one that the second moment falls with.
    """
    orders = np.array(list(itertools.product([1, 0.25, 0.01], repeat=3)))
    heights = orders[random.permutation(number) % len(orders)].T
    signs = random.choice([-1, 1], heights.shape)
    return (signs * heights * np.logspace(-9, 0, number)).astype(np.float32)


def adam_update(
    gradients: np.ndarray, lr: float, choices: Choices, weights: np.ndarray | None = None
) -> np.ndarray:
    """How far some weights have moved after each of a few steps.

    Args:
        gradients: float32 [steps, weights].
        lr: learning rate.
        choices: with the original's it is the project's own optimizer, else Adam written out.
        weights: float64 [weights], where they start, at 0 if not given. It matters to a decay only.

    Returns:
        [steps, weights], from the start.
    """
    if not are_original(choices, ADAM_FIELDS):
        start = np.zeros(gradients.shape[1]) if weights is None else weights
        return np.array(list(_adam(start, gradients, lr, choices))) - start
    moved = keras.Variable(np.zeros_like(gradients[0]), dtype="float32")
    optimizer = TF1Adam(learning_rate=lr, epsilon=ORIGINAL.adam_epsilon)
    after = []
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [moved])
        after.append(moved.numpy())
    return np.array(after, np.float64)


def _adam(
    weights: np.ndarray, gradients: np.ndarray, lr: float, choices: Choices
) -> Iterator[np.ndarray]:
    """Kingma & Ba 2015, algorithm 1: the weights after each step.

    `adam_epsilon_corrected` adds epsilon to the root of the corrected second moment, as the
    algorithm does, and otherwise to that of the moment itself, as the end of section 2 proposes and
    TensorFlow does; `adam_epsilon_inside` adds it under the root. `adam_largest` is Reddi et al.
    2018, `adam_decay` Loshchilov & Hutter 2019.
    """
    adam = Adam(len(weights), choices)
    for gradient in gradients.astype(np.float64):
        weights = adam.step(weights, gradient, lr)
        yield weights


class Adam:
    """Adam written out, with what implementations do differently; see `_adam`."""

    def __init__(self, number: int, choices: Choices):
        self._choices, self._t = choices, 0
        self._m, self._v, self._largest = np.zeros((3, number))

    def step(self, weights: np.ndarray, gradient: np.ndarray, lr: float) -> np.ndarray:
        """The weights [n] after one step more."""
        its, self._t = self._choices, self._t + 1
        gradient = gradient + its.adam_penalty * weights
        self._m = self._m + (1 - its.adam_beta_1) * (gradient - self._m)
        self._v = self._v + (1 - its.adam_beta_2) * (gradient**2 - self._v)
        self._largest = np.maximum(self._largest, self._v)
        first, second = _bias_corrections(self._t, its)
        square = self._largest if its.adam_largest else self._v
        epsilon = its.adam_epsilon
        if its.adam_epsilon_inside:
            root = (square + epsilon * second**2) ** 0.5
        else:
            root = square**0.5 + epsilon * (second if its.adam_epsilon_corrected else 1)
        rate = its.adam_lr * lr
        weights = weights * (1 - (rate if its.adam_decay_by_lr else 1) * its.adam_decay)
        return weights - rate * second / first * self._m / root


def _bias_corrections(t: int, choices: Choices) -> tuple[float, float]:
    """Of the first moment, and of the root of the second one, at step t >= 1."""
    if not choices.adam_bias_corrected:
        return 1.0, 1.0
    return 1 - choices.adam_beta_1**t, (1 - choices.adam_beta_2**t) ** 0.5
