"""The work of a benchmark as diffusers and PyTorch do it."""

import itertools
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import diffusers
import torch
from torch.nn import functional

from diffusion_tf.benchmark.task import HALF_WEIGHTS, MATRICES, MATRIX_SIZE, Task


class TorchWork:
    """Does steps of a task, with UNet2DModel and DDPMScheduler.

    Attributes:
        description: device and versions.
    """

    def __init__(self, task: Task):
        """Builds network and functions."""
        self._device = device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # What PyTorch must be told on GPUs, and TensorFlow does by itself.
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = True
        self.description = {
            "device": "GPU" if device.type == "cuda" else "CPU",
            "version": f"torch {torch.__version__}, diffusers {diffusers.__version__}",
        }
        if task.work == MATRICES:
            self.run = self._multiplier(getattr(torch, task.dtype))
            return
        self._config, self._batch_size = task.config, task.batch_size
        network = diffusers.UNet2DModel(**_arguments(task.unet)).to(device)
        self._layout = torch.contiguous_format
        if "channels_last" in task.name:
            self._layout = torch.channels_last
            network.to(memory_format=self._layout)
        half_weights = task.name.endswith(HALF_WEIGHTS)
        self._input_dtype = torch.bfloat16 if half_weights else torch.float32
        if half_weights:
            network.to(torch.bfloat16)
        compiled = task.name.startswith("compiled")
        self._network = torch.compile(network) if compiled else network
        autocast = task.dtype == "bfloat16" and not half_weights
        self._precision = lambda: (
            torch.autocast(device.type, torch.bfloat16) if autocast else nullcontext()
        )
        self._scheduler = diffusers.DDPMScheduler(**_arguments(task.scheduler))
        self._scheduler.set_timesteps(self._scheduler.config.num_train_timesteps)
        self._scheduler.alphas_cumprod = self._scheduler.alphas_cumprod.to(device)
        if task.work == "train":
            self._prepare_training(network)
            self.run = self._train
        else:
            network.eval().requires_grad_(False)
            self.run = self._sample
        size = task.unet["sample_size"]  # a number, or height and width
        size = [size] * 2 if isinstance(size, int) else size
        self._shape = (task.batch_size, network.config.in_channels, *size)
        self.description["parameters"] = network.num_parameters()

    def flops_per_step(self) -> None:
        """Not counted: the network is ours."""

    def peak_memory(self) -> int | None:
        """Bytes on the GPU; None on a CPU, where the process knows."""
        return torch.cuda.max_memory_allocated() if self._device.type == "cuda" else None

    def _multiplier(self, dtype: torch.dtype) -> Callable[[int], None]:
        """A step is a product of two matrices of random numbers."""
        size = MATRIX_SIZE[self.description["device"]]
        a, b = (torch.randn(size, size, device=self._device).to(dtype) for _ in range(2))

        def run(steps: int) -> None:
            for _ in range(steps):
                product = a @ b
            product[0, 0].item()

        return run

    def _denoise(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        x = x.to(self._input_dtype, memory_format=self._layout)
        with self._precision():
            return self._network(x, t).sample.float()

    def _sample(self, steps: int) -> None:
        """The first steps of the reverse process, again and again if it has fewer."""
        with torch.inference_mode():
            x = torch.randn(self._shape, device=self._device)
            for t in itertools.islice(itertools.cycle(self._scheduler.timesteps), steps):
                t = int(t)
                timesteps = torch.full([self._batch_size], t, device=self._device)
                x = self._scheduler.step(self._denoise(x, timesteps), t, x).prev_sample
        x[0].cpu()

    def _prepare_training(self, network: torch.nn.Module) -> None:
        config = self._config
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._averages = [p.detach().clone() for p in self._parameters]
        self._adam = _faster(
            [
                torch.optim.Adam(self._parameters, lr=config["lr"], **{way: True})
                for way in ("fused", "foreach")
            ],
            self._parameters,
        )
        network.train()

    def _train(self, steps: int) -> None:
        """Updates, each from another batch of random uint8 images."""
        config, device, size = self._config, self._device, [self._batch_size, 1, 1, 1]
        for _ in range(steps):
            pixels = torch.randint(256, self._shape, dtype=torch.uint8, device=device)
            x = pixels.float() / 127.5 - 1
            if config["random_flip"]:
                x = torch.where(torch.rand(size, device=device) < 0.5, x.flip(-1), x)
            t = torch.randint(config["num_diffusion_timesteps"], size[:1], device=device)
            noise = torch.randn(self._shape, device=device)
            x_t = self._scheduler.add_noise(x, noise, t)
            loss = functional.mse_loss(self._denoise(x_t, t), noise)
            self._adam.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._parameters, config["grad_clip"])
            self._adam.step()
            with torch.no_grad():
                torch._foreach_lerp_(self._averages, self._parameters, 1 - config["ema_decay"])
        loss.item()


def _arguments(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not name.startswith("_")}


def _faster(
    optimizers: list[torch.optim.Optimizer], parameters: list[torch.Tensor]
) -> torch.optim.Optimizer:
    """The optimizer that takes less time for an update, which moves nothing: the gradient is 0."""
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)

    def seconds(step: Callable[[], Any]) -> float:
        step()  # creates the state
        start = time.perf_counter()
        for _ in range(3):
            step()
        parameters[0][..., 0].sum().item()
        return time.perf_counter() - start

    return min(optimizers, key=lambda optimizer: seconds(optimizer.step))
