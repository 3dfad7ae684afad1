"""Packaging of diffusion_tf. Each dependency says what it is here for."""

import re
from pathlib import Path

from setuptools import find_packages, setup

REQUIRED = [
    "tensorflow>=2.16",  # the first release whose Keras is Keras 3
    "keras>=3.5",
    "numpy",  # coefficients in float64
    "absl-py",  # flags and logging
    "tensorboard",  # tf.summary needs it, and TensorFlow 2.21 no longer brings it
    "tensorflow-datasets",  # CIFAR-10, CelebA-HQ
    # What tensorflow-datasets, tensorflow-metadata and etils agree on with Python 3.10. Said here,
    # as its pip, 23.0, would try what is newer with all versions of other packages first.
    "etils<1.14; python_version < '3.11'",
    "protobuf<=6.32; python_version < '3.11'",
    "google-crc32c",  # the checksums of TFRecord files
    "importlib_resources",  # tensorflow-datasets 4.9 needs it and does not say so
    "scipy",  # log-softmax and entropy, for the Inception score; distances of points
    "scikit-learn",  # the digits that the default run learns from, S-curve, Swiss roll, PCA
    "pillow",  # image files
    "matplotlib",  # the loss curve, the plots of an evaluation
    "tqdm",  # progress and time left
]

ROOT = Path(__file__).parent
INIT = (ROOT / "diffusion_tf/__init__.py").read_text(encoding="utf-8")

setup(
    name="diffusion_tf",
    version=re.search(r'^__version__ = "(.+?)"', INIT, re.MULTILINE)[1],
    description="Denoising Diffusion Probabilistic Models in TensorFlow 2 and Keras 3",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    keywords="diffusion models, generative models, DDPM, TensorFlow, Keras",
    project_urls={"Paper": "https://arxiv.org/abs/2006.11239"},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["diffusion_tf", "diffusion_tf.*"]),
    package_data={"diffusion_tf": ["py.typed"]},  # it has type hints
    entry_points={
        "console_scripts": [
            f"ddpm-{path.stem}=diffusion_tf.commands.{path.stem}:command"
            for path in sorted((ROOT / "diffusion_tf/commands").glob("[!_]*.py"))
        ]
    },
    python_requires=">=3.10",
    install_requires=REQUIRED,
    extras_require={
        "gpu": ["tensorflow[and-cuda]"],
        "test": [
            "pytest",
            "pytest-timeout",  # a test that hangs fails, and says where
            "pytest-xdist",  # runs test files side by side
            "ruff",
            "mypy",  # types of our own code, NumPy's and the standard library's
        ],
        "docs": [
            "mkdocs>=1.6",  # the site; pages that are files of the repository
            "mkdocs-material",  # its theme
            "mkdocstrings[python]>=0.28",  # the API reference from docstrings
            "ruff",  # breaks the lines of long signatures
        ],
        "export": [  # ONNX files
            "tf2onnx>=1.17",  # writes them; the first that goes with today's NumPy and protobuf
            "onnxruntime",  # tries each before it is in its place
            "onnx!=1.19.0",  # needs a newer ml_dtypes than it says, and than TensorFlow 2.16 takes
        ],
        "crosscheck": [  # other implementations, and their files
            "torch",  # reads and writes *.pt, *.ckpt and *.bin
            "diffusers",
            "safetensors",
            # What the GaussianDiffusion of denoising-diffusion-pytorch needs. That itself asks for
            # torchvision, of which the build on PyPI breaks diffusers beside a CPU build of torch:
            # pip install --no-deps denoising-diffusion-pytorch
            "einops",
            # Nor do the tests of FID take torchvision from pytorch-fid:
            # pip install --no-deps pytorch-fid
        ],
    },
)
