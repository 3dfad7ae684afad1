"""Measures this project beside PyTorch: the same work, on the same machine, in the same run."""
