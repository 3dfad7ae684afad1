"""`ddpm-sample` from a clone: python scripts/sample.py --help"""

from diffusion_tf.commands.sample import command

if __name__ == "__main__":
    command()
