"""Adam beside PyTorch's: the sum of a few updates, with the epsilon where each puts it."""

import keras
import numpy as np

from diffusion_tf.crosscheck.choices import ORIGINAL, Choices
from diffusion_tf.optimizers import TF1Adam


def adam_update(gradients: np.ndarray, lr: float, choices: Choices) -> np.ndarray:
    """How far some weights have moved after a few steps.

    Args:
        gradients: float32 [steps, weights].
        lr: learning rate.
        choices: with the original's it is the project's own optimizer, else Adam written out.

    Returns:
        [weights].
    """
    if choices.adam_epsilon != ORIGINAL.adam_epsilon or choices.adam_epsilon_corrected:
        return _adam(gradients, lr, choices.adam_epsilon, choices.adam_epsilon_corrected)
    weights = keras.Variable(np.zeros_like(gradients[0]))
    optimizer = TF1Adam(learning_rate=lr, epsilon=ORIGINAL.adam_epsilon)
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weights])
    return weights.numpy()


def _adam(gradients: np.ndarray, lr: float, epsilon: float, corrected: bool) -> np.ndarray:
    """Kingma & Ba 2015, algorithm 1.

    `corrected` adds epsilon to the root of the corrected second moment, as the algorithm does, and
    otherwise to that of the moment itself, as the end of section 2 proposes and TensorFlow does.
    """
    beta_1, beta_2 = 0.9, 0.999
    weights, m, v = np.zeros((3, gradients.shape[1]))
    for t, gradient in enumerate(np.float64(gradients), start=1):
        m += (1 - beta_1) * (gradient - m)
        v += (1 - beta_2) * (gradient**2 - v)
        root = (1 - beta_2**t) ** 0.5
        weights -= lr * root / (1 - beta_1**t) * m / (v**0.5 + epsilon * (root if corrected else 1))
    return weights
