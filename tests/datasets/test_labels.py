"""Labels of own images: subfolders and files as their writers make them, and what is wrong."""

import csv
import dataclasses
import hashlib
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from diffusion_tf.config import get_config
from diffusion_tf.datasets import folder, get_dataset, get_fitted_dataset, splits_of
from diffusion_tf.datasets.splits import held_out

CONFIG = get_config("digits", dataset="folder", labels="auto")
NAMES = ["cat/b.png", "cat/deep/a.png", "cat/z.png", "dog/c.png", "dog/d.png"]
CLASSES = [0, 0, 0, 1, 1]
FILES = ["a.png", "b.png", "sub/c.png"]


def save(folder, names, seed=0):
    """Grey images of 8x8 pixels, the first pixel of each its number."""
    rng = np.random.default_rng(seed)
    for number, name in enumerate(names):
        pixels = rng.integers(0, 256, (8, 8), np.uint8)
        pixels[0, 0] = number
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return folder


def write_csv(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def fitted(path, **fields):
    return get_fitted_dataset(dataclasses.replace(CONFIG, **fields), str(path))


@pytest.fixture
def animals(tmp_path):
    return save(tmp_path / "animals", NAMES)


@pytest.fixture
def photos(tmp_path):
    return save(tmp_path / "photos", FILES)


@pytest.mark.parametrize("limit", [10**9, 0], ids=["in memory", "decoded when needed"])
@pytest.mark.parametrize("labels", ["auto", "subfolders"])
def test_subfolders_are_classes_in_the_order_of_their_names(animals, monkeypatch, labels, limit):
    monkeypatch.setattr(folder, "MEMORY_LIMIT", limit)
    (animals / ".ipynb_checkpoints").mkdir()
    config, dataset = fitted(animals, labels=labels)
    assert (config.num_classes, dataset.class_names) == (2, ("cat", "dog"))
    np.testing.assert_array_equal(dataset.conditions, CLASSES)
    assert [dataset.example(i)[0, 0, 0] for i in range(5)] == [0, 1, 2, 3, 4]
    assert dataset.first(4).count_classes() == {"cat": 3, "dog": 1}
    few = dataset.subset(np.array([4, 1]))
    np.testing.assert_array_equal(few.conditions, [1, 0])
    assert [few.example(i)[0, 0, 0] for i in range(2)] == [4, 1]
    assert few.fingerprint() != dataset.subset(np.array([3, 1])).fingerprint()
    x, y = next(iter(dataset.train_batches(5, seed=0, with_conditions=True)))
    np.testing.assert_array_equal(np.array(CLASSES)[x[:, 0, 0, 0]], y)


def test_the_explicit_number_of_classes_must_be_right(animals):
    assert fitted(animals, num_classes=2)[0].num_classes == 2
    for number in (1, 3):
        with pytest.raises(ValueError, match=r"has 2 classes \(cat, dog\); set num_classes to 2"):
            fitted(animals, num_classes=number)
    with pytest.raises(ValueError, match="no labels; set num_classes to 0, or say with --labels"):
        fitted(animals, labels="", num_classes=2)


def test_without_labels_subfolders_mean_nothing(animals):
    config, dataset = fitted(animals, labels="")
    assert (config.num_classes, dataset.conditions, dataset.class_names) == (0, None, None)


ROWS = [("b.png", "dog"), ("a.png", "cat"), ("sub/c.png", "dog")]
OBJECTS = [{"file_name": name, "label": label, "width": 8} for name, label in ROWS]


@pytest.mark.parametrize("write, name", [
    (lambda path: write_csv(path, [("file_name", "label"), *ROWS]), "labels.csv"),
    (lambda path: write_csv(path, [("label", "Filename"), *(r[::-1] for r in ROWS)]), "labels.csv"),
    (lambda path: write_csv(path, ROWS), "metadata.csv"),
    (lambda path: write_csv(path, [("id", "breed"), *((f[:-4], k) for f, k in ROWS)]), "x.csv"),
    (lambda path: write_csv(path, [(r"sub\c.png", "dog"), *ROWS[:2]]), "x.csv"),
    (lambda path: path.write_text("\ufefffile_name,label\na.png,cat\r\nb.png,dog\nsub/c.png,dog\n"),
     "labels.csv"),
    (lambda path: write_lines(path, OBJECTS), "metadata.jsonl"),
    (lambda path: path.write_text("\ufeff" + "\n\n".join(map(json.dumps, OBJECTS))), "x.jsonl"),
    (lambda path: path.write_text(json.dumps({"labels": ROWS})), "dataset.json"),
])  # fmt: skip
def test_labels_stand_in_a_file_beside_the_images(photos, write, name):
    write(photos / name)
    config, dataset = fitted(photos, labels="auto" if name[0] != "x" else name)
    assert (config.num_classes, dataset.class_names) == (2, ("cat", "dog"))
    np.testing.assert_array_equal(dataset.conditions, [0, 1, 1])


@pytest.mark.parametrize("numbers, names, labels", [
    ([2, 10, 2], ("2", "10"), [0, 1, 0]),
    ([1, 0, 2], ("0", "1", "2"), [1, 0, 2]),
])  # fmt: skip
def test_classes_that_are_numbers_keep_their_order(photos, numbers, names, labels):
    write_csv(photos / "labels.csv", zip(FILES, numbers, strict=True))
    write_lines(
        photos / "x.jsonl",
        [{"image": f, "class": n} for f, n in zip(FILES, numbers, strict=True)],
    )
    for chosen in ("labels.csv", "x.jsonl"):
        config, dataset = fitted(photos, labels=chosen)
        assert (config.num_classes, dataset.class_names) == (len(names), names)
        np.testing.assert_array_equal(dataset.conditions, labels)


VECTORS = np.array([[0.5, -1], [0, 2], [3, 1e-3]], np.float32)


@pytest.mark.parametrize("write, name", [
    (lambda path: write_csv(path, [("file", "u", "v"), *((f, *v) for f, v in PAIRS)]), "x.csv"),
    (lambda path: write_csv(path, [("file", "vector"), *((f, f"{a} {b}") for f, (a, b) in PAIRS)]),
     "x.csv"),
    (lambda path: write_lines(path, [{"file_name": f, "vector": v} for f, v in PAIRS]), "x.jsonl"),
    (lambda path: path.write_text(json.dumps({"labels": PAIRS})), "x.json"),
])  # fmt: skip
def test_images_have_vectors(photos, write, name):
    write(photos / name)
    config, dataset = fitted(photos, labels=name)
    assert (config.num_classes, config.cond_dim, dataset.class_names) == (0, 2, None)
    np.testing.assert_array_equal(dataset.conditions, VECTORS)


def test_names_of_files_may_have_ends_of_lines(tmp_path):
    names = ["a\nb.png", "c\u2028d.png", "e\x1cf.png"]
    save(tmp_path / "photos", names)
    write_csv(tmp_path / "photos" / "labels.csv", zip(names, "xyx", strict=True))
    write_lines(
        tmp_path / "photos" / "x.jsonl",
        [{"image": f, "class": n} for f, n in zip(names, "xyx", strict=True)],
    )
    for labels in ("labels.csv", "x.jsonl"):
        dataset = fitted(tmp_path / "photos", labels=labels)[1]
        np.testing.assert_array_equal(dataset.conditions, [0, 1, 0])


PAIRS = [(name, vector.tolist()) for name, vector in zip(FILES, VECTORS, strict=True)]


def test_numbers_that_are_not_whole_are_vectors_of_one(photos):
    write_csv(photos / "x.csv", zip(FILES, (0.5, 1, 2), strict=True))
    config, dataset = fitted(photos, labels="x.csv")
    assert config.cond_dim == 1
    np.testing.assert_array_equal(dataset.conditions, np.float32([[0.5], [1], [2]]))


def _zip(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(content.rglob("*")):
            archive.write(file, file.relative_to(content))
    return path


@pytest.mark.parametrize("limit", [10**9, 0], ids=["in memory", "decoded when needed"])
def test_an_archive_of_images_is_a_folder(photos, animals, tmp_path, monkeypatch, limit):
    monkeypatch.setattr(folder, "MEMORY_LIMIT", limit)
    (photos / "dataset.json").write_text(
        json.dumps({"labels": [[f, i] for i, f in enumerate(FILES)]})
    )
    config, dataset = fitted(_zip(tmp_path / "edm.zip", photos))
    assert config.num_classes == 3
    for i in range(3):
        np.testing.assert_array_equal(dataset.example(i), fitted(photos)[1].example(i))
    np.testing.assert_array_equal(dataset.conditions, [0, 1, 2])
    _, of_classes = fitted(_zip(tmp_path / "animals.zip", animals))
    np.testing.assert_array_equal(of_classes.conditions, CLASSES)
    assert of_classes.identity() != dataset.identity()
    (photos / "dataset.json").write_text('{"labels": null}')
    plain = get_dataset(
        dataclasses.replace(CONFIG, labels=""), str(_zip(tmp_path / "plain.zip", photos))
    )
    assert (len(plain), plain.conditions) == (3, None)


def test_archives_that_cannot_be_read_are_named(photos, tmp_path):
    (tmp_path / "text.zip").write_text("not an archive")
    with pytest.raises(ValueError, match="text.zip cannot be read as a zip archive"):
        fitted(tmp_path / "text.zip")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(3):
            archive.writestr(f"{i}.png", bytes(2**27))
    with pytest.raises(ValueError, match=r"bomb.zip cannot be .*like a zip bomb"):
        fitted(tmp_path / "bomb.zip", labels="")
    (photos / "labels.csv").write_text("a.png,cat\n" * 2**15)
    with pytest.raises(ValueError, match=r"labels.csv in .*long.zip has more than 262,144 bytes"):
        fitted(_zip(tmp_path / "long.zip", photos))
    (photos / "labels.csv").unlink()
    path = _zip(tmp_path / "damaged.zip", photos)
    data = bytearray(path.read_bytes())
    data[60] ^= 255
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"1 of 3 images .*damaged.zip/a.png .*--unreadable=skip"):
        fitted(path, labels="")
    assert len(fitted(path, labels="", unreadable="skip")[1]) == 2


@pytest.mark.parametrize("rows, message", [
    (ROWS[:2], r"labels.csv has no label for sub/c.png; add rows"),
    ([*ROWS, ("d.png", "cat")], r"labels.csv names 'd.png', which is not among the images"),
    ([*ROWS, ("a.png", "dog")], "labels.csv gives a.png two labels; leave one"),
    ([*ROWS[:2], ("sub/c.png",)], "labels.csv has rows of different lengths, 1 in line 3 and 2 in"),
    ([("file", "u", "v"), *((f, "x", 1) for f in FILES)], r"in line 2, which are not the numbers"),
    ([("file",), *((f,) for f in FILES)], "labels.csv has a single column"),
    ([(f,) for f in FILES], "labels.csv has a single column"),
    ([*ROWS[:2], ("sub/c.png", " ")], "labels.csv has an empty label in line 3; fill it in"),
    (ROWS * 2**14, "labels.csv has more than 262,144 bytes; name another file"),
    ([], "labels.csv is empty"),
])  # fmt: skip
def test_rows_that_do_not_belong_to_the_images(photos, rows, message):
    write_csv(photos / "labels.csv", rows)
    with pytest.raises(ValueError, match=message):
        fitted(photos)


@pytest.mark.parametrize("text, message", [
    ('{"file_name": "a.png"}', "x.jsonl holds .* in line 1; give an object such as"),
    ("[1]", "x.jsonl holds .* in line 1; give an object"),
    ("{", "x.jsonl is not JSON in line 1"),
    ('{"file_name": "a.png", "label": true}', "line 1, holds a label True; it must be a text"),
    ('{"file_name": "a.png", "label": 1e400}', "holds a label inf"),
    ('{"file_name": "a.png", "label": []}', "holds a label "),
    ('{"file_name": "a.png", "label": ""}', "holds a label ''"),
    ('{"file_name": "a.png", "label": 1, "label": 2}', "line 1 .it has the field 'label' twice"),
    (json.dumps({"file_name": "a.png", "label": 10**12}), "holds a label 1000000000000"),
    ("\n".join(json.dumps({"file_name": f, "label": [1.0] * (i + 1)})
               for i, f in enumerate(FILES)), "vectors of 1 and vectors of 2 and vectors of 3"),
])  # fmt: skip
def test_lines_that_are_not_labels(photos, text, message):
    (photos / "x.jsonl").write_text(text)
    with pytest.raises(ValueError, match=message):
        fitted(photos, labels="x.jsonl")


def test_what_else_does_not_fit_is_said(photos, animals):
    with pytest.raises(ValueError, match="photos holds a.png, b.png beside its subfolders"):
        fitted(photos)
    (animals / "empty").mkdir()
    with pytest.raises(ValueError, match="animals has a subfolder empty without an image"):
        fitted(animals)
    with pytest.raises(FileNotFoundError, match="There is no .*labels.txt; --labels takes"):
        fitted(photos, labels="labels.txt")
    (photos / "labels.txt").write_text("a.png cat")
    with pytest.raises(ValueError, match="is not a file of labels; give one that ends with .csv"):
        fitted(photos, labels="labels.txt")
    (photos / "latin.csv").write_bytes("a.png,é".encode("latin-1"))
    with pytest.raises(ValueError, match="latin.csv is not text in UTF-8"):
        fitted(photos, labels="latin.csv")
    for name in ("labels.csv", "metadata.jsonl"):
        (photos / name).write_text("")
    with pytest.raises(ValueError, match="labels.csv and metadata.jsonl; say with --labels"):
        fitted(photos)
    (photos / "dataset.json").write_text('{"labels": null}')
    with pytest.raises(ValueError, match="dataset.json has no labels; train without them"):
        fitted(photos, labels="dataset.json")
    digits = get_config("digits", labels="subfolders")
    with pytest.raises(ValueError, match="'subfolders', but digits has its labels with it; set"):
        get_dataset(digits)


def test_labels_of_other_data_sets_follow_from_them():
    config, _ = get_fitted_dataset(get_config("digits", labels="auto", cond_drop_prob=0.1))
    assert config.num_classes == 10
    with pytest.raises(ValueError, match="labels is 'auto', but s_curve has no labels; leave"):
        get_fitted_dataset(get_config("s_curve", labels="auto"))


def test_a_fraction_is_kept_for_testing_and_stays_the_same(tmp_path):
    names = [f"{'cat' if i % 2 else 'dog'}/{i}.png" for i in range(60)]
    path = save(tmp_path / "all", names)
    config = dataclasses.replace(CONFIG, test_fraction=0.25)
    assert splits_of(config) == ("train", "test") and splits_of(CONFIG) == ("train",)
    train, test = (get_dataset(config, str(path), split=s) for s in ("train", "test"))

    def numbers(dataset):
        return [dataset.example(i)[0, 0, 0] for i in range(len(dataset))]

    assert sorted([*numbers(train), *numbers(test)]) == list(range(60))
    assert 5 <= len(test) <= 25
    for dataset in (train, test):
        np.testing.assert_array_equal(dataset.conditions, [(n + 1) % 2 for n in numbers(dataset)])
        assert dataset.class_names == ("cat", "dog")
    assert train.identity() != get_dataset(CONFIG, str(path)).identity()
    save(path, ["cat/100.png"], seed=1)  # what comes later changes nothing
    later = [get_dataset(config, str(path), split=s) for s in ("train", "test")]
    assert {len(train), len(test)} < {*map(len, later), len(train), len(test)}
    np.testing.assert_array_equal(held_out(names, 0.25)[:9], held_out(names[:9], 0.25))
    share = held_out([str(i) for i in range(4000)], 0.1).mean()
    assert abs(share - 0.1) < 4 * (0.09 / 4000) ** 0.5
    assert held_out(["a", "b", "c", "d"], 0.5).tolist() == [
        int(hashlib.sha256(name.encode()).hexdigest(), 16) < 2**255 for name in "abcd"
    ]


def test_a_second_folder_is_for_testing(animals, tmp_path):
    other = save(tmp_path / "other", ["dog/1.png", "dog/2.png"], seed=1)
    config = dataclasses.replace(CONFIG, test_dir=str(other))
    assert len(get_dataset(config, str(animals))) == 5
    test = get_dataset(config, str(animals), split="test")
    np.testing.assert_array_equal(test.conditions, [1, 1])
    assert test.class_names == ("cat", "dog")
    save(other, ["elk/1.png"])
    with pytest.raises(ValueError, match="has a class 'elk' that the training data lack; .*dog"):
        get_dataset(config, str(animals), split="test")


def test_splits_that_cannot_be_are_refused(animals):
    with pytest.raises(
        ValueError, match="test_fraction is 1e-09, which leaves none of 5 .*testing"
    ):
        fitted(animals, test_fraction=1e-9)
    with pytest.raises(
        ValueError, match="test_fraction is 0.1, but digits has a test split of its"
    ):
        get_dataset(get_config("digits", test_fraction=0.1))
    with pytest.raises(ValueError, match="test_dir is 'x', but lsun has no test split"):
        get_dataset(get_config("lsun_cat", test_dir="x"))
    with pytest.raises(ValueError, match="test_fraction is 0.5; it must be 0 with test_dir"):
        get_config("folder", test_fraction=0.5, test_dir="x")


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.csv"])
def test_arrays_are_told_from_folders(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match="not a folder of images; --config=arrays reads images"):
        fitted(tmp_path / name)
