"""`ddpm-benchmark` from a clone: python scripts/benchmark.py --help"""

from diffusion_tf.commands.benchmark import command

if __name__ == "__main__":
    command()
