"""`ddpm-status` from a clone: python scripts/status.py --help"""

from diffusion_tf.commands.status import command

if __name__ == "__main__":
    command()
