"""The commands, a module each, which defines its flags when it is imported: one to a process."""

import diffusion_tf.utils.ctrl_c  # noqa: F401 - before all that takes time

COMMANDS = {  # what each does: the first line of its module
    "train": "Trains a DDPM, or goes on with a run; ends with pictures in the workdir.",
    "status": "Says how far a run is: its step, loss and last checkpoint, and whether someone"
    " trains in it.",
    "sample": "Draws samples from a trained run.",
    "interpolate": "Interpolates between two or more real images through a trained run"
    " (the paper's Figure 8).",
    "inpaint": "Fills in a part of a real image through a trained run (RePaint).",
    "figures": "Draws the paper's figures from a trained run: rates, progress, shared latents,"
    " mixtures.",
    "evaluate": "Measures a trained run, or images made by anything, and writes metrics.json and"
    " report.html.",
    "convert": "Converts checkpoints: the original's, this project's, diffusers' and those of other"
    " ports.",
    "crosscheck": "Holds a PyTorch implementation against this one, stage by stage, and says where"
    " they differ.",
    "benchmark": "Measures this project beside diffusers and PyTorch, on the same work in the same"
    " run.",
}
