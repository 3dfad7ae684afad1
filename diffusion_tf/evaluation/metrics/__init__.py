"""Sample quality: Frechet distance and Inception score (`fid`), the network they use (`inception`).

Neither knows a diffusion model; `fid` needs no TensorFlow and works on any classifier's features.
"""
