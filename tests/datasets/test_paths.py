"""Which images a way goes through."""

import numpy as np
import pytest
from PIL import Image

from diffusion_tf.datasets.paths import stops_of


def test_names_and_the_ends_of_a_folder(tmp_path):
    assert stops_of(["3", "a.png", "5"]) == ["3", "a.png", "5"]
    for name in ("b.png", "a.png", "c.jpg"):
        Image.fromarray(np.zeros([4, 4], np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    assert stops_of([str(tmp_path)]) == [str(tmp_path / "a.png"), str(tmp_path / "c.jpg")]


def test_less_than_two_images(tmp_path):
    with pytest.raises(ValueError, match="--images=3 names fewer than two images; give"):
        stops_of(["3"])
    with pytest.raises(ValueError, match="holds fewer than two images; a way needs two or more"):
        stops_of([str(tmp_path)])
    with pytest.raises(FileNotFoundError, match="There is no nowhere; check the path"):
        stops_of(["nowhere"])
