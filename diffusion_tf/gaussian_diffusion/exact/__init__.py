"""Optimal networks for data whose distribution is known, and what every chain then does to it.

With them a sampler, a bound or a guidance rule can be proven without training anything. For data
x_0 ~ sum_k w_k N(m_k, diag v_k) everything follows from eq. 4 and the rule of Bayes: given the
component k, x_0 and x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps are jointly Gaussian, so

    E[x_0 | x_t, k]   = m_k + g_k (x_t - sqrt(abar) m_k),   g_k = sqrt(abar) v_k / V_k
    Var[x_0 | x_t, k] = (1 - abar) v_k / V_k,               V_k = abar v_k + 1 - abar
    P(k | x_t)        ~ w_k N(x_t; sqrt(abar) m_k, V_k)

A Gaussian is one component; a data set is one component without variance for each example. The
mean of x_0 minimizes the simple loss (eq. 14) at every t, and eq. 4 and 7 turn it into the other
things that a network may predict. Equation numbers are those of Ho, Jain & Abbeel 2020.

Arrays are float64. Levels `alphas_cumprod` are given in the order of time, the least noise first:
all T of a process or those of a subsequence, so that nothing here depends on the samplers.
"""

from diffusion_tf.gaussian_diffusion.exact.chains import (
    Affine,
    ancestral_chain,
    ddim_chain,
    guided,
    interpolation_start,
)
from diffusion_tf.gaussian_diffusion.exact.correlated import CorrelatedGaussian
from diffusion_tf.gaussian_diffusion.exact.gaussian import Gaussian
from diffusion_tf.gaussian_diffusion.exact.mixtures import Mixture, Moments, empirical

__all__ = [
    "Affine",
    "CorrelatedGaussian",
    "Gaussian",
    "Mixture",
    "Moments",
    "ancestral_chain",
    "ddim_chain",
    "empirical",
    "guided",
    "interpolation_start",
]
