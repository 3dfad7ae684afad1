"""A diffusion object in PyTorch, written for these tests, with the methods that are looked for.

It follows the paper, not anyone's code: formulas are put together in another order than here, so
that both sides round differently. Tests plant faults by changing the text of a copy.
"""

import math
from pathlib import Path

import torch

from diffusion_tf.crosscheck.comparison import Comparer
from diffusion_tf.crosscheck.counterpart import Counterpart
from diffusion_tf.crosscheck.inputs import make_inputs
from diffusion_tf.crosscheck.reference import Reference
from diffusion_tf.crosscheck.torch_side import TorchSide, draw_step_noise
from diffusion_tf.schedules import get_beta_schedule


def betas_of(config):
    return get_beta_schedule(
        config.beta_schedule,
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        num_diffusion_timesteps=config.num_diffusion_timesteps,
    )


def cdf(x):
    return 0.5 + 0.5 * torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def log_probability(x, mean, log_deviation):
    """Of 8-bit pixels."""
    half_bin = 1 / 255
    upper = cdf((x + half_bin - mean) / torch.exp(log_deviation))
    lower = cdf((x - half_bin - mean) / torch.exp(log_deviation))
    upper = torch.where(x > 0.999, 1.0, upper)
    lower = torch.where(x < -0.999, 0.0, lower)
    return torch.log(torch.clamp(upper - lower, min=1e-12))


def mean_of_all(x):
    return x.flatten(1).mean(dim=1)


class Process:
    def __init__(self, config):
        self.config = config
        self._betas = torch.tensor(betas_of(config))
        self._signal = torch.cumprod(1 - self._betas, 0)  # of x_0 in x_t, squared
        self._before = torch.cat([torch.ones(1).double(), self._signal[:-1]])
        variance = self._betas * (1 - self._before) / (1 - self._signal)
        small = torch.log(torch.cat([variance[1:2], variance[1:]]))
        large = torch.log(torch.cat([variance[1:2], self._betas[1:]]))
        self._posterior_log_variance = small
        self._log_variance = large if config.model_var_type == "fixedlarge" else small

    def at(self, coefficients, t):
        return coefficients[t].float().reshape(-1, 1, 1, 1)

    def q_sample(self, x_start, t, noise):
        return self.at((1 - self._signal).sqrt(), t) * noise + self.at(self._signal.sqrt(), t) * (
            x_start
        )

    def q_posterior_mean_variance(self, x_start, x_t, t):
        of_x_t = (1 - self._betas).sqrt() * (1 - self._before) / (1 - self._signal)
        of_x_0 = self._before.sqrt() * self._betas / (1 - self._signal)
        log_variance = self.at(self._posterior_log_variance, t)
        mean = self.at(of_x_t, t) * x_t + self.at(of_x_0, t) * x_start
        return mean, log_variance.exp(), log_variance

    def p_mean_variance(self, model, x, t, clip=True):
        output = model(x, t)
        if self.config.model_mean_type == "xprev":
            of_x_t = (1 - self._betas).sqrt() * (1 - self._before) / (1 - self._signal)
            of_x_0 = self._before.sqrt() * self._betas / (1 - self._signal)
            pred = (output - self.at(of_x_t, t) * x) / self.at(of_x_0, t)
        elif self.config.model_mean_type == "eps":
            pred = x - self.at((1 - self._signal).sqrt(), t) * output
            pred = pred / self.at(self._signal.sqrt(), t)
        else:
            pred = output
        pred = torch.clamp(pred, -1, 1) if clip else pred
        mean = self.q_posterior_mean_variance(pred, x, t)[0]
        if self.config.model_mean_type == "xprev":
            mean = output
        log_variance = self.at(self._log_variance, t)
        return {"mean": mean, "log_variance": log_variance, "pred_xstart": pred}

    def p_sample(self, model, x, t):
        p = self.p_mean_variance(model, x, t)
        noise = torch.randn_like(x)
        noise[t == 0] = 0
        return p["mean"] + (p["log_variance"] / 2).exp() * noise

    def training_losses(self, model, x_start, t, *, noise):
        x_t = self.q_sample(x_start, t, noise)
        if self.config.loss_type == "kl":
            return self.bound(model, x_start, x_t, t, clip=False)
        target = {
            "eps": noise,
            "xstart": x_start,
            "xprev": self.q_posterior_mean_variance(x_start, x_t, t)[0],
        }[self.config.model_mean_type]
        return mean_of_all((model(x_t, t) - target) ** 2)

    def _vb_terms_bpd(self, model, x_start, x_t, t):
        return self.bound(model, x_start, x_t, t, clip=True)

    def bound(self, model, x_start, x_t, t, clip):
        mean, _, log_variance = self.q_posterior_mean_variance(x_start, x_t, t)
        p = self.p_mean_variance(model, x_t, t, clip)
        ratio = log_variance - p["log_variance"]
        distance = (mean - p["mean"]) ** 2 / p["log_variance"].exp()
        kl = (ratio.exp() - 1 - ratio + distance) / 2
        decoder = -log_probability(x_start, p["mean"], p["log_variance"] / 2)
        return torch.where(t == 0, mean_of_all(decoder), mean_of_all(kl)) / math.log(2)


class Only:
    """A process of which these methods can be seen, and no coefficient."""

    def __init__(self, process, *methods):
        for method in methods:
            setattr(self, method, getattr(process, method))


def process_with(*changes):
    """The class `Process`, with changes planted in its text."""
    text = Path(__file__).read_text().split("class Only")[0]
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    namespace = {"__file__": __file__}
    exec(text, namespace)
    return namespace["Process"]


def beside(config, process=None, optimizer=None):
    """The comparison with a process, an optimizer, or both."""
    its = Counterpart(name="theirs", process=process, optimizer=optimizer)
    inputs = make_inputs(config, draw_step_noise)
    return Comparer(Reference(config, inputs), TorchSide(its, inputs), its).run()
