"""Files are replaced whole or not at all."""

import pytest

from diffusion_tf.utils.files import replacing, replacing_folder


def test_a_finished_file_takes_its_place(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_finished_folder_takes_its_place(tmp_path):
    path = tmp_path / "new" / "folder"
    for text in ("first", "second"):
        with replacing_folder(path) as temporary:
            (temporary / text).write_text(text)
            assert text == "first" or (path / "first").exists()
        assert [p.name for p in path.iterdir()] == [text]
    with pytest.raises(RuntimeError), replacing_folder(path) as temporary:
        (temporary / "half").write_text("")
        raise RuntimeError
    assert [p.name for p in path.iterdir()] == ["second"]
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(FileNotFoundError), replacing_folder(path) as temporary:
        temporary.rmdir()  # so that there is nothing to rename
    assert (path / "old").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
