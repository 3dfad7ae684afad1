"""`ddpm-figures` from a clone: python scripts/figures.py --help"""

from diffusion_tf.commands.figures import command

if __name__ == "__main__":
    command()
