"""`ddpm-crosscheck` from a clone: python scripts/crosscheck.py --help"""

from diffusion_tf.commands.crosscheck import command

if __name__ == "__main__":
    command()
