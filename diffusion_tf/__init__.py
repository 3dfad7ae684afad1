"""Denoising Diffusion Probabilistic Models in TensorFlow 2 and Keras 3."""
