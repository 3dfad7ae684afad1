"""What `metrics.json` of an evaluation may hold; made by hand, no model behind it."""

from dataclasses import asdict

import numpy as np

from diffusion_tf.config import get_config


def cifar10_metrics(T=1000):
    """An evaluation of CIFAR-10 exactly as in the paper: nothing stands in the way."""
    t = np.arange(T)
    terms = 0.5 / (1 + t) ** 1.5
    terms[0] = 2.0
    mse = 0.3 * ((1 + t) / T) ** 2
    number = {"train": 50_000, "test": 10_000}
    bpd = {
        split: {
            "total": float(terms.sum() + 0.01), "standard_error": 0.0042, "prior": 0.01,
            "decoder": 2.0, "terms": terms.tolist(), "mse": mse.tolist(),
            "num_images": number[split], "seed": 7, "clip_denoised": True,
        }
        for split in ("train", "test")
    }  # fmt: skip
    curve = {
        "reverse_steps": list(range(1, T + 1)),
        "rate": (0.01 + np.cumsum(np.append(0, terms[:0:-1]))).tolist(),
        "distortion": (127.5 * np.sqrt(mse[::-1])).tolist(),
    }
    return {
        "source": {
            "kind": "workdir", "path": "runs/cifar10", "step": 800_000, "weights": "ema",
            "config": asdict(get_config("cifar10")),
        },
        "data": {
            "name": "cifar10",
            "splits": {
                split: {"num_images": n, "of": n, "fingerprint": f"{n:064x}"}
                for split, n in number.items()
            },
        },
        "samples": {
            "path": "samples.npz", "num_samples": 50_000, "seed": 3, "sampler": "ancestral",
            "sampling_steps": T, "T": T, "variance": "fixedlarge", "dtype": "float32",
            "batch_size": 64,
        },
        "features": {
            "name": "inception", "preprocessing": "TF1 bilinear to 299, (x - 128) / 128",
            "quantized": False, "graph_sha256": "0123456789abcdef" * 4,
        },
        "fid": {
            split: {
                "value": value, "num_samples": 50_000, "num_images": number[split],
                "dimensions": 2048,
            }
            for split, value in (("train", 3.3), ("test", 5.5))
        },
        "is": {
            "value": 9.51, "split_mean": 9.41, "split_std": 0.125, "num_splits": 10,
            "num_samples": 50_000,
        },
        "bpd": bpd,
        "rate_distortion": {"test": curve},
        "versions": {"diffusion_tf": "0.1.0", "tensorflow": "2.21.0"},
        "device": {"kind": "GPU", "number": 8, "name": "an accelerator", "tf32": False},
        "created": "2026-01-02T03:04:05+00:00",
        "seconds": {"samples": 3725.0},
    }  # fmt: skip
