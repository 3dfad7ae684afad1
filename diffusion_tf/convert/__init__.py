"""Weights in and out: the original's checkpoints, PyTorch's state dicts, diffusers' folders."""
