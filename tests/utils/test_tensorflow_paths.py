"""TensorFlow is given paths that it can open, and folders in which it waits for nobody."""

import os

import pytest

from diffusion_tf.utils.tensorflow_paths import for_tensorflow


@pytest.mark.parametrize("name", ["checkpoint", "ckpt-3.index", "ckpt-3.data-00000-of-00001"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with (
        pytest.raises(OSError, match=f"{name} is a pipe or a device"),
        for_tensorflow(str(tmp_path)),
    ):
        pass


def test_other_files_do_not_matter(tmp_path):
    os.mkfifo(tmp_path / "notes")
    (tmp_path / "ckpt-3.index").symlink_to("gone")
    (tmp_path / "checkpoint").mkdir()
    with for_tensorflow(str(tmp_path)) as plain:
        assert plain == str(tmp_path)
    with for_tensorflow(str(tmp_path / "none")) as plain:
        assert plain == str(tmp_path / "none")
