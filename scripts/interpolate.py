"""`ddpm-interpolate` from a clone: python scripts/interpolate.py --help"""

from diffusion_tf.commands.interpolate import command

if __name__ == "__main__":
    command()
