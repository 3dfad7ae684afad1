"""The layers of GaussianDiffusion: noise, forward, reverse, loops."""
