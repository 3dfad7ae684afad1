"""A diffusion process, an optimizer and the way of the data in NumPy, written for these tests.

It follows the paper, not anyone's code, and deals in arrays, NHWC. Tests plant faults by changing
the text of a copy.
"""

import math
from pathlib import Path

import numpy as np

from diffusion_tf.schedules import get_beta_schedule


def betas_of(config):
    return get_beta_schedule(
        config.beta_schedule,
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        num_diffusion_timesteps=config.num_diffusion_timesteps,
    )


def at(coefficients, t):
    return coefficients[t].astype(np.float32).reshape(-1, 1, 1, 1)


def flat_mean(x):
    return x.reshape(len(x), -1).mean(axis=1)


def of_examples(numbers):
    return numbers.astype(np.float32).reshape(-1, 1, 1, 1)


def cdf(x):
    return 0.5 + 0.5 * np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def log_probability(x, mean, log_deviation):
    half_bin = 1 / 255
    upper = cdf((x + half_bin - mean) / np.exp(log_deviation))
    lower = cdf((x - half_bin - mean) / np.exp(log_deviation))
    upper = np.where(x > 0.999, 1.0, upper)
    lower = np.where(x < -0.999, 0.0, lower)
    return np.log(np.maximum(upper - lower, 1e-12))


class Port:
    layout = "NHWC"

    def __init__(self, config, timesteps=None, new_betas=None):
        self.config = config
        betas = betas_of(config)
        if new_betas is not None:
            betas = new_betas
        self.spaced = timesteps
        T = len(betas)
        self.betas = betas
        alphas = 1 - betas
        abar = np.cumprod(alphas)
        self.alphas_cumprod = abar
        before = np.append(1.0, abar[:-1])
        self.alphas_cumprod_prev = before
        self.sqrt_alphas_cumprod = np.sqrt(abar)
        self.sqrt_one_minus_alphas_cumprod = np.sqrt(1 - abar)
        self.log_one_minus_alphas_cumprod = np.log(1 - abar)
        self.sqrt_recip_alphas_cumprod = np.sqrt(1 / abar)
        self.sqrt_recipm1_alphas_cumprod = np.sqrt(1 / abar - 1)
        self.posterior_variance = betas * (1 - before) / (1 - abar)
        variance = np.append(self.posterior_variance[1], self.posterior_variance[1:])
        self.posterior_log_variance_clipped = np.log(variance)
        self.posterior_mean_coef1 = betas * np.sqrt(before) / (1 - abar)
        self.posterior_mean_coef2 = (1 - before) * np.sqrt(alphas) / (1 - abar)
        large = np.log(np.append(self.posterior_variance[1], betas[1:]))
        small = self.posterior_log_variance_clipped
        self.log_variance = {"fixedlarge": large, "fixedsmall": small}.get(config.model_var_type)
        self.T = T
        self.step = 0

    def q_sample(self, x_start, t, noise):
        signal = at(self.sqrt_alphas_cumprod, t)
        return signal * x_start + at(self.sqrt_one_minus_alphas_cumprod, t) * noise

    def q_posterior_mean_variance(self, x_start, x_t, t):
        mean = at(self.posterior_mean_coef1, t) * x_start
        mean = mean + at(self.posterior_mean_coef2, t) * x_t
        return mean, at(self.posterior_variance, t), at(self.posterior_log_variance_clipped, t)

    def predicted(self, output, x, t):
        kind = self.config.model_mean_type
        if kind == "eps":
            output = at(self.sqrt_recipm1_alphas_cumprod, t) * output
            return at(self.sqrt_recip_alphas_cumprod, t) * x - output
        if kind == "v":
            root = at(self.sqrt_alphas_cumprod, t)
            return root * x - at(self.sqrt_one_minus_alphas_cumprod, t) * output
        if kind == "xprev":
            rest = output - at(self.posterior_mean_coef2, t) * x
            return rest / at(self.posterior_mean_coef1, t)
        return output

    def told(self, t):
        return t if self.spaced is None else self.spaced[t]

    def halves(self, model, x, t):
        mean, rest = np.split(model(x, self.told(t)), [x.shape[-1]], axis=-1)
        return mean, rest

    def variance_of(self, values, t):
        if self.log_variance is not None:
            return at(self.log_variance, t)
        if self.config.model_var_type == "learned":
            return values
        upper, lower = at(np.log(self.betas), t), at(self.posterior_log_variance_clipped, t)
        share = (values + 1) / 2
        return share * upper + (1 - share) * lower

    def p_mean_variance(self, model, x, t, clip=True):
        output, values = self.halves(model, x, t)
        pred = self.predicted(output, x, t)
        pred = np.clip(pred, -1, 1) if clip else pred
        mean = self.q_posterior_mean_variance(pred, x, t)[0]
        mean = output if self.config.model_mean_type == "xprev" else mean
        log_variance = self.variance_of(values, t)
        return {"mean": mean, "log_variance": log_variance, "pred_xstart": pred}

    def p_sample(self, model, x, t, noise):
        p = self.p_mean_variance(model, x, t)
        mask = (t > 0).reshape(-1, 1, 1, 1)
        return p["mean"] + mask * np.exp(0.5 * p["log_variance"]) * noise

    def p_sample_loop(self, model, x, noise):
        for t in range(self.T - 1, -1, -1):
            x = self.p_sample(model, x, np.full(len(x), t), noise[self.T - 1 - t])
        return x

    def ddim_sample(self, model, x, t, eta=0.0, noise=0.0):
        previous = self.alphas_cumprod_prev
        return self.ddim_step(model, x, t, previous[t], eta, noise)

    def ddim_step(self, model, x, t, before, eta=0.0, noise=0.0):
        x_0 = self.p_mean_variance(model, x, t)["pred_xstart"]
        eps = x - at(self.sqrt_alphas_cumprod, t) * x_0
        eps = eps / at(self.sqrt_one_minus_alphas_cumprod, t)
        abar = self.alphas_cumprod[t]
        sigma = eta * np.sqrt((1 - before) / (1 - abar) * (1 - abar / before))
        direction = np.sqrt(1 - before - sigma**2)
        mean = of_examples(np.sqrt(before)) * x_0 + of_examples(direction) * eps
        return mean + of_examples(sigma) * noise

    def timesteps(self, spacing, number):
        stride = self.T // number
        return {
            "leading": np.arange(0, self.T, stride),
            "trailing": np.arange(self.T, 0, -stride)[::-1] - 1,
            "linspace": np.round(np.linspace(0, self.T - 1, number)).astype(int),
        }[spacing]

    def ddim_chain(self, model, x, spacing, number):
        timesteps = self.timesteps(spacing, number)
        for i in range(number - 1, -1, -1):
            t, prev = timesteps[i], timesteps[i - 1] if i > 0 else -1
            before = self.alphas_cumprod[prev] if prev >= 0 else 1.0
            x = self.ddim_step(model, x, np.full(len(x), t), np.full(len(x), before))
        return x

    def respaced(self, timesteps):
        if self.config.model_mean_type == "xprev" or self.config.model_var_type == "learned":
            return None  # the network speaks of the steps of training
        kept = self.alphas_cumprod[timesteps]
        return type(self)(self.config, timesteps, 1 - kept / np.append(1.0, kept[:-1]))

    def guided(self, conditional, unconditional, scale):
        channels = self.config.channels
        variance = conditional[..., channels:]
        conditional, unconditional = conditional[..., :channels], unconditional[..., :channels]
        output = unconditional + scale * (conditional - unconditional)
        return np.concatenate([output, variance], axis=-1)

    def training_losses(self, model, x_start, t, *, noise):
        x_t = self.q_sample(x_start, t, noise)
        if self.config.loss_type == "kl":
            return self.bound(model, x_start, x_t, t, clip=False)
        if self.config.loss_type == "hybrid":
            bound = self.bound(model, x_start, x_t, t, clip=False)
            return self.simple(model, x_start, x_t, t, noise) + self.T / 1000 * bound
        return self.simple(model, x_start, x_t, t, noise)

    def simple(self, model, x_start, x_t, t, noise):
        error = self.halves(model, x_t, t)[0] - self.target(x_start, x_t, t, noise)
        return flat_mean(error**2)

    def target(self, x_start, x_t, t, noise):
        return {
            "eps": lambda: noise,
            "xstart": lambda: x_start,
            "xprev": lambda: self.q_posterior_mean_variance(x_start, x_t, t)[0],
            "v": lambda: (
                at(self.sqrt_alphas_cumprod, t) * noise
                - at(self.sqrt_one_minus_alphas_cumprod, t) * x_start
            ),
        }[self.config.model_mean_type]()

    def _vb_terms_bpd(self, model, x_start, x_t, t):
        return self.bound(model, x_start, x_t, t, clip=True)

    def bound(self, model, x_start, x_t, t, clip):
        mean, _, log_variance = self.q_posterior_mean_variance(x_start, x_t, t)
        p = self.p_mean_variance(model, x_t, t, clip)
        ratio = log_variance - p["log_variance"]
        distance = (mean - p["mean"]) ** 2 / np.exp(p["log_variance"])
        kl = 0.5 * (np.exp(ratio) - 1 - ratio + distance)
        nll = -log_probability(x_start, p["mean"], 0.5 * p["log_variance"])
        return np.where(t == 0, flat_mean(nll), flat_mean(kl)) / math.log(2)

    def learning_rate(self, step):
        return self.config.lr * min(step / self.config.warmup, 1)

    def clip_gradients(self, gradients):
        norm = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients))
        scale = min(self.config.grad_clip / norm, 1)
        return [g * scale for g in gradients]

    def update_average(self, average, weights, step):
        decay = self.config.ema_decay
        return weights if step == 0 else decay * average + (1 - decay) * weights

    def timestep_probabilities(self, losses):
        last = losses[-10:]
        size = np.sqrt(np.mean(last.astype(np.float64) ** 2, axis=0))
        share = 0.001
        return size / size.sum() * (1 - share) + share / len(size)

    def from_pixels(self, pixels):
        return pixels.astype(np.float32) / 127.5 - 1

    def to_pixels(self, numbers):
        return np.rint(np.clip((numbers + 1) * 127.5, 0, 255))

    def ten_training_steps(self, weights, pixels, t, noise):
        all_weights, averages, average = [], [], weights
        step_of_adam = self.adam(self.config.lr)
        for step in range(len(t)):
            x_start = self.from_pixels(pixels[step])
            x_t = self.q_sample(x_start, t[step], noise[step])
            wave = np.sin(3 * x_t + 0.01 * t[step].reshape(-1, 1, 1, 1))
            error = weights[0] * x_t + weights[1] * wave + weights[2]
            error = error - self.target(x_start, x_t, t[step], noise[step])
            gradients = [np.mean(2 * error * part) for part in (x_t, wave, np.ones_like(x_t))]
            gradients = np.array(self.clip_gradients([np.array(g) for g in gradients]))
            weights = step_of_adam(weights, gradients, self.learning_rate(step))
            average = self.update_average(average, weights, step)
            all_weights.append(weights)
            averages.append(average)
        return all_weights, averages

    def adam(self, lr):
        state = {"m": 0.0, "v": 0.0, "t": 0}

        def step(weights, gradient, lr=lr):
            state["t"] += 1
            state["m"] = 0.9 * state["m"] + 0.1 * gradient
            state["v"] = 0.999 * state["v"] + 0.001 * gradient**2
            rate = lr * math.sqrt(1 - 0.999 ** state["t"]) / (1 - 0.9 ** state["t"])
            return weights - rate * state["m"] / (np.sqrt(state["v"]) + 1e-8)

        return step


def port_with(*changes):
    """The class `Port`, with changes planted in its text."""
    text = Path(__file__).read_text().split("def port_with")[0]
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    namespace = {"__file__": __file__}
    exec(text, namespace)
    return namespace["Port"]
