"""What a small network computes in float32 and in bfloat16: `python processor_numbers.py OUT.npz`.

In bfloat16 both with what stands for instructions and with float32 copies.
"""

import sys

import numpy as np
import tensorflow as tf

from diffusion_tf import UNet
from diffusion_tf.models import products
from diffusion_tf.utils.random_numbers import normal

CASES = {
    "float32": ("float32", True),
    "instructions": ("mixed_bfloat16", True),
    "copies": ("mixed_bfloat16", False),
}


def all_numbers():
    """{name: array}, the output and the gradient by all weights for each of `CASES`."""
    numbers, predicate = {}, products.computes_in_bfloat16
    try:
        for name, (dtype, instructions) in CASES.items():
            products.computes_in_bfloat16 = lambda answer=instructions: answer
            numbers |= {f"{name} {what}": array for what, array in _of_network(dtype).items()}
    finally:
        products.computes_in_bfloat16 = predicate
    return numbers


def _of_network(dtype):
    unet = UNet(
        ch=32, out_ch=3, ch_mult=(1, 1), num_res_blocks=1, attn_resolutions=(8,), dtype=dtype
    )
    x, t = normal([4, 16, 16, 3], [1, 2]), tf.constant([0, 9, 99, 999])
    unet([x, t])
    rng = np.random.default_rng(0)
    unet.set_weights([rng.normal(0, 0.1, w.shape) for w in unet.get_weights()])
    weights = [v.value for v in unet.trainable_variables]
    with tf.GradientTape() as tape:
        output = unet([x, t])
        loss = tf.reduce_mean(tf.square(output - x))
    gradient = [tf.reshape(g, [-1]) for g in tape.gradient(loss, weights)]
    return {"output": output.numpy(), "gradient": tf.concat(gradient, 0).numpy()}


if __name__ == "__main__":
    np.savez(sys.argv[1], **all_numbers())
