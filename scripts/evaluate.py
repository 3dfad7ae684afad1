"""`ddpm-evaluate` from a clone: python scripts/evaluate.py --help"""

from diffusion_tf.commands.evaluate import command

if __name__ == "__main__":
    command()
