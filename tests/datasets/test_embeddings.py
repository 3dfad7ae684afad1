"""Vectors conditioned on vectors: files, good and bad, and the digits' embeddings."""

import os

import numpy as np
import pytest
from sklearn.datasets import load_digits

from diffusion_tf.config import get_config
from diffusion_tf.datasets import get_dataset
from diffusion_tf.datasets.embeddings import digit_embeddings

X = np.linspace(-1, 1, 12).reshape(4, 3)
Y = np.arange(8).reshape(4, 2)
CONFIG = get_config("embeddings", data_dim=3, cond_dim=2, standardize=0.0)


def load_npz(path):
    dataset = get_dataset(CONFIG, str(path))
    return dataset.examples, dataset.conditions


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "vectors.npz"


def test_vectors_come_back_as_float32(file):
    save(file, x=X, y=Y, other=np.zeros(2))
    for where in (file, str(file), file.parent):
        x, y = load_npz(where)
        assert (x.dtype, y.dtype) == (np.float32, np.float32)
        np.testing.assert_array_equal(x, X.astype(np.float32))
        np.testing.assert_array_equal(y, Y)


@pytest.mark.parametrize("bad", [
    ({"x": X}, "lacks labels, y or arr_1 .it has x."),
    ({"a": X}, "lacks vectors, x or arr_0 .it has a.; save it with numpy.savez.path, x=examples"),
    ({"x": X[0], "y": Y}, r"x in .*vectors.npz has shape \(3,\); it must be \[N, D\]"),
    ({"x": X, "y": np.zeros([4, 2, 2])}, r"y in .*vectors.npz has shape \(4, 2, 2\)"),
    ({"x": X[:0], "y": Y[:0]}, r"x in .* has shape \(0, 3\)"),
    ({"x": X, "y": Y[:3]}, "x in .* has 4 rows and y in .* has 3; .* the same number"),
    ({"x": np.full((2, 2), "a"), "y": Y}, "x in .* has dtype <U1; it must hold real numbers"),
    ({"x": X + 0j, "y": Y}, "x in .* has dtype complex128"),
    ({"x": 3.14 * X, "y": Y}, r"x in .* reaches 3.14, but must lie in \[-1, 1\] unless"),
    ({"x": np.minimum(312.0 * X, 0), "y": Y}, "reaches 312, .*; add --standardize=1"),
    ({"x": 1.001 * X, "y": Y}, "reaches 1.001, "),
])  # fmt: skip
def test_what_does_not_fit_is_named(file, bad):
    arrays, message = bad
    save(file, **arrays)
    with pytest.raises(ValueError, match=message):
        load_npz(file)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("name", ["x", "y"])
def test_values_that_are_not_finite_are_counted(file, name, value):
    arrays = {"x": X.copy(), "y": Y.astype(np.float64)}
    arrays[name][[1, 3], 1] = value
    save(file, **arrays)
    with pytest.raises(ValueError, match=f"{name} in .* in 2 of 4 rows, the first at index 1"):
        load_npz(file)


class _Trap:
    """Makes a file if it is ever unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_objects_are_refused_and_never_unpickled(file):
    trap = np.empty((1, 1), object)
    trap[0, 0] = _Trap(str(file.parent / "unpickled"))
    save(file, x=trap, y=Y)
    with pytest.raises(ValueError, match="vectors.npz cannot be read as .npz .*write numbers"):
        load_npz(file)
    assert not (file.parent / "unpickled").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 and no more"])
def test_a_file_that_is_no_npz_is_named(file, content):
    file.write_bytes(content)
    with pytest.raises(ValueError, match="vectors.npz cannot be read as .npz"):
        load_npz(file)


def test_a_damaged_array_is_named(file):
    save(file, x=X, y=Y)
    content = bytearray(file.read_bytes())
    content[200] ^= 255  # among the numbers of x
    file.write_bytes(content)
    with pytest.raises(ValueError, match="vectors.npz cannot be read as .npz .*x.npy"):
        load_npz(file)


def test_an_npy_is_no_npz(file):
    with file.open("wb") as open_file:
        np.save(open_file, X)
    with pytest.raises(ValueError, match="cannot be read as .npz .it is an .npy"):
        load_npz(file)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no .*nothing.npz; check the path"):
        load_npz(tmp_path / "nothing.npz")
    with pytest.raises(FileNotFoundError, match="holds no .npz, .npy or .csv; name a folder"):
        load_npz(tmp_path)
    for name in ("b.npz", "a.npz"):
        save(tmp_path / name, x=X, y=Y)
    with pytest.raises(ValueError, match="holds several files .a.npz, b.npz.; name the one"):
        load_npz(tmp_path)


def test_digits_are_conditions_for_their_embeddings():
    (x, y), (again, _) = digit_embeddings(), digit_embeddings()
    assert (x.shape, y.shape, x.dtype, y.dtype) == ((1797, 16), (1797, 64), np.float32, np.float32)
    np.testing.assert_array_equal(x, again)
    np.testing.assert_array_equal(8 * (y + 1), load_digits().images.reshape(1797, 64))
    assert np.abs(x).max() == 1


def test_embeddings_are_the_principal_components():
    """Centred, uncorrelated, the widest first, one scale for all: distances keep their ratios."""
    x, y = (v.astype(np.float64) for v in digit_embeddings())
    covariance, spectrum = np.cov(x.T), np.linalg.eigvalsh(np.cov(y.T))[:-17:-1]
    variances = covariance.diagonal()
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(covariance, np.diag(variances), atol=1e-6)
    np.testing.assert_allclose(variances / variances[0], spectrum / spectrum[0], rtol=1e-5)
    assert 0.84 < spectrum.sum() / np.var(y, axis=0, ddof=1).sum() < 0.86  # the docstring's 85%
