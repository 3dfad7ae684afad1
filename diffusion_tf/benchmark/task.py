"""What is measured: a piece of work, and the variants of PyTorch that it is measured against."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffusion_tf.utils.devices import JitCompile  # TensorFlow

WORK = ("train", "sample")
MATRICES = "matrices"  # large products, the machine's ceiling: beside the work, in its own process
MATRIX_SIZE = {"CPU": 2048, "GPU": 8192}  # operands of some MB, or some hundred
DTYPES = ("float32", "bfloat16")
OURS = "diffusion_tf"
# Eager or torch.compile, and images stored NCHW or channels last.
VARIANTS = ("eager", "eager_channels_last", "compiled", "compiled_channels_last")
HALF_WEIGHTS = "_half_weights"  # the name of a variant goes on so, if it samples with them


@dataclass(frozen=True)
class Task:
    """What one process measures.

    Attributes:
        name: `OURS`, or a variant of PyTorch.
        work: `train`, whole updates; `sample`, steps of the reverse process; or `MATRICES`.
        batch_size: images at once.
        dtype: of the arithmetic; weights and their averages are float32 when training.
        config: the fields of a `Config`.
        jit_compile: compile with XLA, a word that `utils.devices.use_xla` knows.
        unet, scheduler: arguments of diffusers' UNet2DModel and DDPMScheduler.
    """

    name: str
    work: str
    batch_size: int
    dtype: str
    config: dict[str, Any]
    jit_compile: "JitCompile" = "auto"
    unet: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)


def variants_of(work: str, dtype: str, variants: tuple[str, ...]) -> list[str]:
    """The variants of PyTorch for a piece of work.

    bfloat16 is autocast; a network that only samples may as well have bfloat16 weights.
    """
    halves = [name + HALF_WEIGHTS for name in variants]
    return [*variants, *(halves if (work, dtype) == ("sample", "bfloat16") else [])]
