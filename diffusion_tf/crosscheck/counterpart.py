"""What can stand on the other side of a cross-check, and what of it is compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from diffusion_tf.convert.maps import NameMap

if TYPE_CHECKING:
    import torch

Layout = Literal["NHWC", "NCHW"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
Model = Callable[..., Any]  # model(x [B, C, S, S], t int64 [B]) -> like x


class Process(Protocol):
    """What a diffusion object may offer; whatever it lacks is not compared.

    Names and signatures are those of improved-diffusion and guided-diffusion, whose objects need no
    adapter. Images are float32 [B, C, S, S], t is int64 [B], counted from 0. Where the variance is
    learned, a model returns twice the channels. A method may return a
    mapping with the key named below, or the value itself. `betas` and the names of `COEFFICIENTS`
    are looked up as attributes of shape [T].

    Attributes:
        coarse: stages that it computes less exactly than float32 could, with their tolerance and
            the reason.
    """

    coarse: Mapping[str, tuple[float, str]]

    def q_sample(self, x_start: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """x_t."""

    def q_posterior_mean_variance(
        self, x_start: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mean, variance and log-variance of q(x_{t-1} | x_t, x_0)."""

    def p_mean_variance(
        self, model: Model, x: torch.Tensor, t: torch.Tensor
    ) -> Mapping[str, torch.Tensor]:
        """`mean`, `log_variance` and `pred_xstart`, or some of them."""

    def p_sample(self, model: Model, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """x_{t-1} (`sample`); its noise is the first that it draws from torch's generator."""

    def p_sample_loop(self, model: Model, shape: tuple[int, ...]) -> torch.Tensor:
        """x_0 (`sample`) by all steps; it draws x_T first, and then the noise of each step.

        A side of arrays gets x_T in place of the shape, and `noise` [T, ...].
        """

    def ddim_sample(
        self, model: Model, x: torch.Tensor, t: torch.Tensor, eta: float = 0.0
    ) -> torch.Tensor:
        """x_{t-1} (`sample`) by DDIM, from t to t - 1; its noise is the first that it draws."""

    def timesteps(self, spacing: str, number: int) -> Sequence[int] | None:
        """That many, rising, of a spacing of diffusers: leading, trailing or linspace.

        None where it has no such spacing.
        """

    def ddim_chain(
        self, model: Model, x: torch.Tensor, spacing: str, number: int
    ) -> torch.Tensor | None:
        """x_0 by DDIM with eta = 0 on these timesteps, from x on; None as above."""

    def respaced(self, timesteps: Sequence[int]) -> Process:
        """The process on some of its timesteps, rising, with betas that are made for them.

        Its t counts them; the network gets the timesteps themselves.
        """

    def guided(
        self, conditional: torch.Tensor, unconditional: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """What classifier-free guidance makes of two outputs of the network.

        A scale of 1 is the conditional output, one of 0 the other.
        """

    def training_losses(
        self, model: Model, x_start: torch.Tensor, t: torch.Tensor, *, noise: torch.Tensor
    ) -> torch.Tensor:
        """The loss of each example, [B] (`loss`)."""

    def _vb_terms_bpd(
        self, model: Model, x_start: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor
    ) -> torch.Tensor:
        """The terms of the variational bound in bits/dim, [B] (`output`)."""


class Training(Protocol):
    """What an implementation may offer of its training; whatever it lacks is not compared."""

    def learning_rate(self, step: int) -> float:
        """Of a step, counted from 0."""

    def clip_gradients(self, gradients: list[torch.Tensor]) -> list[torch.Tensor]:
        """The gradients of some weights, clipped together."""

    def update_average(
        self, average: torch.Tensor, weights: torch.Tensor, step: int
    ) -> torch.Tensor:
        """The average after a step, counted from 0; `weights` are those after it."""

    def timestep_probabilities(self, losses: torch.Tensor) -> torch.Tensor:
        """With which timesteps are drawn by their losses, [T]; see Nichol & Dhariwal 2021, 3.3.

        Args:
            losses: [12, T], of all timesteps, one round after the other.
        """

    def from_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 0..255 as they go into the network."""

    def ten_training_steps(
        self,
        network: torch.nn.Module,
        pixels: list[torch.Tensor],
        t: list[torch.Tensor],
        noise: list[torch.Tensor],
    ) -> tuple[Sequence, Sequence]:
        """Ten training steps from given batches, uint8 0..255, without flips.

        The network is called as (x, t); it has three parameters of one number each, float64, and
        says a x + b sin(3 x + 0.01 t) + c. A side of arrays gets its weights [3] instead.

        Returns:
            the weights after each step, and their average, [10, 3] each.
        """

    def to_pixels(self, numbers: torch.Tensor) -> torch.Tensor:
        """What comes out of the sampler as pixels 0..255."""


@dataclass
class Counterpart:
    """An implementation to compare with.

    Attributes:
        name: for the table.
        network: called as network(x, t) with x [B, C, S, S], or None; with a layout, any function
            of arrays, see `module.Arrays`.
        process: see `Process`, or None.
        names: of the network's weights, if they are known.
        submodules: for our stages of the network, the path of the submodule whose output it is;
            `path:input` for what goes into one.
        keeps_weights: whether the network has weights of its own, which are then compared.
        optimizer: `(parameters, lr)` -> a `torch.optim.Optimizer`, or None.
        training: see `Training`, or None.
        drops: whether its first block, one of the submodules, is to be compared with dropout, too.
        layout: NHWC or NCHW, of a side that deals in arrays; None of one that deals in tensors.
    """

    name: str
    network: torch.nn.Module | None = None
    process: Any = None
    names: NameMap | None = None
    submodules: Mapping[str, str] = field(default_factory=dict)
    keeps_weights: bool = False
    optimizer: Callable[..., torch.optim.Optimizer] | None = None
    training: Any = None
    drops: bool = False
    layout: Layout | None = None
