"""Arrays of one's own: images and vectors as NumPy and csv write them, with labels and splits."""

import csv
import dataclasses
import tracemalloc

import numpy as np
import pytest

from diffusion_tf.config import get_config
from diffusion_tf.datasets import FREE, get_dataset, get_fitted_dataset, splits_of
from diffusion_tf.datasets.csv_vectors import read_csv
from diffusion_tf.datasets.scaling import Scaling

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 8, 8, 3), np.uint8)
LABELS = np.arange(20) % 3
ARRAYS = get_config("arrays", image_size=8, ch_mult=(1,))
VECTORS = get_config("vectors")
X = 7 * RNG.standard_t(3, (20, 4)) + 50
Y = RNG.normal(size=(20, 2))


def fitted(config, path, **fields):
    return get_fitted_dataset(dataclasses.replace(config, **fields), str(path), FREE)


def savez(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("names", [("arr_0", "arr_1"), ("x", "y"), ("images", "labels")])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_images_and_labels_by_the_names_that_others_give_them(tmp_path, save, names):
    save(tmp_path / "a.npz", **dict(zip(names, (PIXELS, LABELS), strict=True)))
    for where in (tmp_path / "a.npz", tmp_path):
        config, dataset = fitted(ARRAYS, where, labels="auto", image_size=32, channels=1)
        assert config.image_shape == (8, 8, 3) and config.num_classes == 3
        np.testing.assert_array_equal(dataset.examples, PIXELS)
        np.testing.assert_array_equal(dataset.conditions, LABELS)
    config, dataset = fitted(ARRAYS, tmp_path)
    assert (config.num_classes, dataset.conditions) == (0, None)
    assert splits_of(config, str(tmp_path)) == ("train",)


@pytest.mark.parametrize("shape", [(20, 8, 8), (20, 8, 8, 1)])
def test_grey_images_and_files_of_one_array(tmp_path, shape):
    grey = PIXELS[..., 0].reshape(shape)
    np.save(tmp_path / "a.npy", grey)
    config, dataset = fitted(ARRAYS, tmp_path / "a.npy")
    assert config.image_shape == (8, 8, 1)
    np.testing.assert_array_equal(dataset.examples, grey.reshape(20, 8, 8, 1))
    with pytest.raises(ValueError, match="holds one array, and labels are asked for; save both"):
        fitted(ARRAYS, tmp_path / "a.npy", labels="auto")


@pytest.mark.parametrize("name", ["{split}_{what}", "{short}_{split}"])
def test_files_with_splits(tmp_path, name):
    """As MedMNIST, whose labels are [N, 1], and Keras have them."""
    arrays = {}
    for split, rows in (("train", slice(12)), ("val", slice(12, 15)), ("test", slice(15, 20))):
        for what, short, array in (("images", "x", PIXELS), ("labels", "y", LABELS[:, None])):
            arrays[name.format(split=split, what=what, short=short)] = array[rows]
    path = savez(tmp_path / "pathmnist.npz", **arrays)
    config, train = fitted(ARRAYS, path, labels="auto")
    assert splits_of(config, str(path)) == ("train", "test")
    test = get_dataset(config, str(path), split="test")
    for dataset, rows in ((train, slice(12)), (test, slice(15, 20))):
        np.testing.assert_array_equal(dataset.examples, PIXELS[rows])
        np.testing.assert_array_equal(dataset.conditions, LABELS[rows])
    for fields in ({"test_fraction": 0.5}, {"test_dir": "a"}):
        with pytest.raises(ValueError, match="has a test split of its own; leave test_fraction"):
            fitted(ARRAYS, path, **fields)


def test_texts_are_names_of_classes(tmp_path):
    words = np.array(["b", "a b", "c"])[LABELS]
    for number, labels in enumerate((words, words.astype("S"))):
        config, dataset = fitted(
            ARRAYS, savez(tmp_path / f"{number}.npz", x=PIXELS, y=labels), labels="auto"
        )
        assert (config.num_classes, dataset.class_names) == (3, ("a b", "b", "c"))
        np.testing.assert_array_equal(dataset.conditions, np.array([1, 0, 2])[LABELS])
    few = savez(tmp_path / "test.npz", x=PIXELS[:2], y=words[[2, 0]])
    config = dataclasses.replace(config, test_dir=str(few))
    test = get_dataset(config, str(tmp_path / "0.npz"), split="test")
    np.testing.assert_array_equal(test.conditions, [2, 1])
    assert test.class_names == ("a b", "b", "c")


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint64, bool])
def test_labels_of_every_type_of_integers(tmp_path, dtype):
    labels = LABELS % 2
    path = savez(tmp_path / "a.npz", x=PIXELS, y=labels.astype(dtype))
    config, dataset = fitted(ARRAYS, path, labels="auto")
    assert config.num_classes == 2 and dataset.conditions.dtype == np.int32
    np.testing.assert_array_equal(dataset.conditions, labels)
    fitted(ARRAYS, path, num_classes=2)
    with pytest.raises(ValueError, match="labels from 0 to 1, but num_classes is 1; set it to 2"):
        fitted(ARRAYS, path, num_classes=1)


def test_some_are_kept_for_testing_and_stay_the_same(tmp_path):
    path = savez(tmp_path / "a.npz", x=PIXELS, y=LABELS)
    config, train = fitted(ARRAYS, path, labels="auto", test_fraction=0.3)
    test = get_dataset(config, str(path), split="test")
    assert len(train) + len(test) == 20
    for dataset in (train, test):
        places = [np.flatnonzero((x == PIXELS).all((1, 2, 3)))[0] for x in dataset.examples]
        np.testing.assert_array_equal(dataset.conditions, LABELS[places])
    savez(path, x=np.concatenate([PIXELS, PIXELS[:4]]), y=np.concatenate([LABELS, LABELS[:4]]))
    np.testing.assert_array_equal(
        get_dataset(config, str(path), split="test").examples[: len(test)], test.examples
    )


@pytest.mark.parametrize("arrays, message", [
    ({"x": PIXELS / 255}, "x in .*a.npz has dtype float64; images must be uint8"),
    ({"x": PIXELS.transpose(0, 3, 1, 2)}, r"\(20, 3, 8, 8\); .*; transpose it with \(0, 2, 3, 1\)"),
    ({"x": PIXELS[..., :2]}, r"has shape \(20, 8, 8, 2\); images must be \[N, H, W\]"),
    ({"x": PIXELS[:0]}, r"has shape \(0, 8, 8, 3\)"),
    ({"a": PIXELS, "b": PIXELS}, "lacks images, x or arr_0 .it has a, b.; save it with numpy"),
    ({"x": PIXELS, "images": PIXELS}, "holds images and x; keep one of them"),
    ({"x": PIXELS}, r"lacks labels, y or arr_1 .it has x."),
    ({"x": PIXELS, "y": LABELS[:9]}, "x in .* has 20 rows and y in .* has 9"),
    ({"x": PIXELS, "y": LABELS - 1}, "a.npz has a label -1; number the classes from 0"),
    ({"x": PIXELS, "y": LABELS * 10**6}, "has labels up to 2,000,000 of 20 examples; number the"),
    ({"x": PIXELS, "y": LABELS + 2**31}, r"y in .* has 2147483648"),
    ({"x": PIXELS, "y": np.array([None] * 20)}, "Python objects, which are not unpickled"),
])  # fmt: skip
def test_arrays_that_are_not_images_and_labels(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    labels = "auto" if "y" in arrays or "lacks labels" in message else ""
    with pytest.raises(ValueError, match=message):
        fitted(ARRAYS, tmp_path / "a.npz", labels=labels)


def test_what_cannot_be_read_is_named(tmp_path):
    for name in ("a.npz", "a.npy"):
        (tmp_path / name).write_bytes(b"no array")
        with pytest.raises(ValueError, match=f"{name} cannot be read as .np"):
            fitted(ARRAYS, tmp_path / name)
    with pytest.raises(ValueError, match="holds several files .a.npy, a.npz.; name the one"):
        fitted(ARRAYS, tmp_path)
    with pytest.raises(
        FileNotFoundError, match="There is no .*b.npz; check the path of the images"
    ):
        fitted(ARRAYS, tmp_path / "b.npz")
    with pytest.raises(ValueError, match="a.txt is not a file of vectors; give one that ends with"):
        (tmp_path / "a.txt").write_text("1")
        fitted(VECTORS, tmp_path / "a.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty holds no .npz or .npy; name a folder"):
        fitted(ARRAYS, tmp_path / "empty")
    for config in (ARRAYS, VECTORS):
        with pytest.raises(ValueError, match=f"{config.dataset} needs --data_dir: a file of"):
            get_dataset(config)
    np.savez(tmp_path / "ok.npz", x=PIXELS)
    with pytest.raises(ValueError, match="ok.npz has no test split; keep some .*test_fraction"):
        get_dataset(ARRAYS, str(tmp_path / "ok.npz"), split="test")
    with pytest.raises(ValueError, match=r"images of 8x8 with 3 channels, but .*set image_size to"):
        get_dataset(dataclasses.replace(ARRAYS, image_size=16), str(tmp_path / "ok.npz"))


def write_csv(path, header, rows):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        if header:
            writer.writerow(header)
        writer.writerows(rows)
    return path


def files_of_vectors(folder):
    """X in every kind of file."""
    np.save(folder / "v.npy", X)
    np.savetxt(folder / "plain.csv", X, delimiter=",", fmt="%.17g")
    return [
        folder / "v.npy",
        folder / "plain.csv",
        savez(folder / "v.npz", x=X),
        savez(folder / "vectors.npz", vectors=X.astype(np.float32), other=Y),
        write_csv(folder / "header.csv", "abcd", X.tolist()),
        write_csv(folder / "label.csv", ["a", "b", "Label", "c", "d"],
                  [[*x[:2], "abc"[i], *x[2:]] for x, i in zip(X.tolist(), LABELS, strict=True)]),
    ]  # fmt: skip


def test_vectors_without_conditions_are_standardized(tmp_path):
    expected = (X - X.mean(axis=0)) / X.std(axis=0)
    for path in files_of_vectors(tmp_path):
        config, dataset = fitted(VECTORS, path)
        assert (config.data_dim, config.conditional, dataset.conditions) == (4, False, None)
        assert dataset.dtype == np.float32
        np.testing.assert_allclose(dataset.examples, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(dataset.scaling.undo(dataset.examples), X, rtol=1e-5)
    for name, scale in (("vectors", 1), ("embeddings", 0.25)):
        config = get_config(name, cond_dim=0, cond_drop_prob=0.0)
        _, dataset = fitted(config, tmp_path / "v.npz")
        np.testing.assert_allclose(dataset.examples.std(axis=0), scale, rtol=1e-5)
    assert get_dataset(get_config("embeddings")).scaling is None  # those of the digits


def test_vectors_have_labels_or_vectors(tmp_path):
    files_of_vectors(tmp_path)
    config, dataset = fitted(VECTORS, tmp_path / "label.csv", labels="auto", cond_drop_prob=0.1)
    assert (config.data_dim, config.num_classes) == (4, 3)
    assert dataset.class_names == ("a", "b", "c")
    np.testing.assert_array_equal(dataset.conditions, LABELS)
    path = savez(tmp_path / "labels.npz", x=X, y=LABELS)
    assert fitted(VECTORS, path, labels="auto")[0].num_classes == 3
    path = savez(tmp_path / "pairs.npz", x=X, y=Y)
    for config in (VECTORS, get_config("embeddings")):
        config, dataset = fitted(config, path, labels="auto")
        assert (config.data_dim, config.cond_dim) == (4, 2)
        np.testing.assert_array_equal(dataset.conditions, Y.astype(np.float32))
    assert fitted(get_config("embeddings"), path)[0].cond_dim == 2
    with pytest.raises(ValueError, match="lacks labels, y or arr_1 .it has x."):
        fitted(get_config("embeddings"), tmp_path / "v.npz")
    with pytest.raises(ValueError, match="labels is 'auto', but .*header.csv has no labels"):
        fitted(VECTORS, tmp_path / "header.csv", labels="auto")


def test_a_run_has_chosen(tmp_path):
    path = savez(tmp_path / "a.npz", x=X)
    with pytest.raises(ValueError, match=r"shape \(4,\), but the config says \(3,\); set data_dim"):
        get_fitted_dataset(dataclasses.replace(VECTORS, data_dim=3), str(path), ())


def test_test_vectors_are_on_the_scale_of_training(tmp_path):
    path = savez(tmp_path / "a.npz", train_x=X[:12], test_x=X[12:])
    config, train = fitted(VECTORS, path)
    test = get_dataset(config, str(path), split="test")
    mean, scale = X[:12].mean(axis=0), X[:12].std(axis=0)
    np.testing.assert_allclose(test.examples, (X[12:] - mean) / scale, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(test.scaling.mean, train.scaling.mean)
    config = dataclasses.replace(config, test_dir=str(savez(tmp_path / "t.npz", x=X[12:])))
    one = savez(tmp_path / "b.npz", x=X[:12])
    np.testing.assert_array_equal(
        get_dataset(config, str(one), split="test").examples, test.examples
    )
    config = dataclasses.replace(config, test_dir="", test_fraction=0.4)
    parts = [get_dataset(config, str(tmp_path / "t.npz"), split=s) for s in ("train", "test")]
    assert sum(map(len, parts)) == 8
    np.testing.assert_allclose(parts[0].examples.mean(axis=0), 0, atol=1e-6)


@pytest.mark.parametrize("name, text, message", [
    ("a.csv", "1,2\n3\n", "has rows of different lengths, 1 in line 2 and 2 in the first"),
    ("a.csv", "a,b\n1,2\n3,x\n", r"holds \['3', 'x'\] in line 3; give numbers, and call"),
    ("a.csv", "a,b\n", "has no row of numbers"),
    ("a.csv", "", "has no row of numbers"),
    ("a.csv", "1;2\n3;4\n", r"holds \['3;4'\] in line 2"),
    ("a.csv", "1,nan\n2,3\n", "not finite in 1 of 2 rows, the first at index 0"),
])  # fmt: skip
def test_rows_that_are_not_vectors(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        fitted(VECTORS, tmp_path / name)


def test_a_row_without_its_label(tmp_path):
    (tmp_path / "a.csv").write_text("u,label\n1,x\n2,\n")
    with pytest.raises(ValueError, match="labels of .*a.csv holds an empty label, number 1"):
        fitted(VECTORS, tmp_path / "a.csv", labels="auto")


def test_many_short_rows_take_little_memory(tmp_path):
    (tmp_path / "a.csv").write_text("1\n2\n" * 100_000)
    tracemalloc.start()
    x, _ = read_csv(tmp_path / "a.csv")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(x, np.tile([[1.0], [2.0]], (100_000, 1)))
    assert peak < 3 * x.nbytes


def test_without_a_scale_vectors_lie_within_1(tmp_path):
    path = savez(tmp_path / "a.npz", x=X / np.abs(X).max())
    _, dataset = fitted(VECTORS, path, standardize=0.0)
    np.testing.assert_allclose(dataset.examples, X / np.abs(X).max(), rtol=1e-6)
    assert dataset.scaling is None
    savez(path, x=3.14 * np.sign(X))
    with pytest.raises(ValueError, match=r"x in .*a.npz reaches 3.14, .* add --standardize=1"):
        fitted(VECTORS, path, standardize=0.0)


def test_scalings_are_exact_and_leave_what_never_changes():
    x = np.stack([1e6 + np.arange(5), np.full(5, 3.5), 1e-9 * np.arange(5)], axis=1)
    scaling = Scaling.to_deviation(x, 0.5)
    y = scaling.apply(x)
    np.testing.assert_allclose(y.std(axis=0), [0.5, 0, 0.5], rtol=1e-6)
    np.testing.assert_allclose(scaling.undo(y), x, rtol=1e-7, atol=1e-15)
    np.testing.assert_array_equal(scaling.undo(y + 9)[:, 1], 3.5)
    again = Scaling.from_json(scaling.to_json())
    np.testing.assert_array_equal(again.mean, scaling.mean)
    np.testing.assert_array_equal(again.scale, scaling.scale)
    assert again.digest() == scaling.digest() != Scaling.to_deviation(x, 1).digest()


def test_images_that_are_not_square_give_their_size_and_channels(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros([5, 8, 12, 1], np.uint8))
    config, dataset = get_fitted_dataset(get_config("arrays"), str(tmp_path / "a.npz"), FREE)
    assert (config.image_size, config.channels) == ((8, 12), 1)
    assert dataset.example_shape == (8, 12, 1)
