"""`ddpm-convert` from a clone: python scripts/convert.py --help"""

from diffusion_tf.commands.convert import command

if __name__ == "__main__":
    command()
