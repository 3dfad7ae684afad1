"""`ddpm-train` from a clone: python scripts/train.py --help"""

from diffusion_tf.commands.train import command

if __name__ == "__main__":
    command()
