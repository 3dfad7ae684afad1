"""The work of a benchmark as this project does it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from diffusion_tf.benchmark.flops import BACKWARD, forward_flops
from diffusion_tf.benchmark.task import MATRICES, MATRIX_SIZE, Task
from diffusion_tf.config import Config
from diffusion_tf.convert.diffusers import unet_config
from diffusion_tf.convert.diffusers_pipeline import scheduler_config
from diffusion_tf.datasets import InMemory
from diffusion_tf.gaussian_diffusion import get_diffusion
from diffusion_tf.models import UNet, get_model
from diffusion_tf.models.products import matmul
from diffusion_tf.sampling.guidance import denoise_fn
from diffusion_tf.training.trainer import Trainer
from diffusion_tf.utils.devices import use_xla


class TensorFlowWork:
    """Does steps of a task.

    Attributes:
        description: device and version; of a network its `parameters`, and the arguments with
            which diffusers builds it and its process.
    """

    def __init__(self, task: Task):
        """Builds network and functions.

        Raises:
            ValueError: a config that cannot be, or that diffusers does not have.
        """
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        self._gpu = bool(tf.config.list_physical_devices("GPU"))
        dtype = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[task.dtype]
        self._config = config = Config.from_dict(
            {**task.config, "dtype": dtype, "batch_size": task.batch_size}
        )
        self._jit_compile = use_xla(task.jit_compile, config.image_size)
        self.description: dict[str, Any] = {
            "device": "GPU" if self._gpu else "CPU",
            "version": f"TensorFlow {tf.__version__}",
        }
        self._model: UNet | None = None
        if task.work == MATRICES:
            self._step = self._multiplier(task.dtype)
            return
        make = {"train": self._trainer, "sample": self._sampler}[task.work]
        self._step, self._model = make()
        self._forwards = task.batch_size * (1 + BACKWARD if task.work == "train" else 1)
        self.description |= {
            "parameters": self._model.count_params(),
            "unet": unet_config(self._model, config.image_size),
            "scheduler": scheduler_config(config),
        }

    def run(self, steps: int) -> None:
        """Runs `steps` steps and waits for them."""
        self._step(steps).numpy()

    def flops_per_step(self) -> int | None:
        """Operations of the network; None without one."""
        if self._model is None:
            return None
        return self._forwards * forward_flops(self._model, self._config)

    def peak_memory(self) -> int | None:
        """Bytes on the GPU; None on a CPU, where the process knows."""
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] if self._gpu else None

    def _multiplier(self, dtype: str) -> Callable[[int], tf.Tensor]:
        """A step is a product of two matrices of random numbers."""
        size = MATRIX_SIZE[self.description["device"]]
        a, b = (tf.cast(tf.random.normal([size, size]), dtype) for _ in range(2))
        return lambda steps: [matmul(a, b) for _ in range(steps)][-1][0, 0]

    def _trainer(self) -> tuple[Callable[[int], tf.Tensor], UNet]:
        config = self._config
        trainer = Trainer(config, tf.distribute.get_strategy(), jit_compile=self._jit_compile)
        pixels = np.random.RandomState(0).randint(256, size=(512, *config.image_shape))
        dataset = InMemory(pixels.astype(np.uint8), None)
        batches = iter(dataset.train_batches(config.batch_size, seed=0))

        def run(steps: int) -> tf.Tensor:
            return trainer.train_steps(batches, tf.constant(steps))["loss"]

        return run, trainer.model

    def _sampler(self) -> tuple[Callable[[int], tf.Tensor], UNet]:
        """As `sampling` compiles it."""
        diffusion, model = get_diffusion(self._config), get_model(self._config)
        x = diffusion.prior_sample(shape=[self._config.batch_size, *self._config.image_shape])
        T, seed = diffusion.num_timesteps, tf.constant([0, 0], tf.int64)

        @tf.function(jit_compile=self._jit_compile, autograph=False)
        def run_steps(
            x: tf.Tensor, first: tf.Tensor, last: tf.Tensor, seed: tf.Tensor
        ) -> tf.Tensor:
            return diffusion.p_sample_steps(
                denoise_fn(model), x=x, first=first, last=last, seed=seed
            )[0]

        def run(steps: int) -> tf.Tensor:
            """The first steps of a chain, after as many whole chains as it takes."""
            chains, rest = divmod(steps, T)
            for length in [T] * chains + [rest] * (rest > 0):
                samples = run_steps(x, tf.constant(T - 1), tf.constant(T - length), seed)
            return samples

        return run, model
