"""`ddpm-inpaint` from a clone: python scripts/inpaint.py --help"""

from diffusion_tf.commands.inpaint import command

if __name__ == "__main__":
    command()
