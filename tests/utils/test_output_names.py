"""What the names of outputs ask for."""

import pytest

from diffusion_tf.utils.output_names import check_name, kind_of

KNOWN = {
    "s.npz": "npz", "S.NPZ": "npz", "a/b.v2/S.PNG": "png", "s.jpg": "jpg", "S.Jpeg": "jpg",
    "run.v2.png": "png", "b.JSON": "json", "samples": "folder", "run.v2": "folder",
    "run.V10": "folder", "2024.11.26": "folder", "eta0.5": "folder", "lr1e-4": "folder",
    "s.gif/": "folder", "grid.png/": "folder", "model.ckpt-12": "folder", "a.gif/b": "folder",
    ".hidden": "folder", "..": "folder", "trailing.": "folder", "a.b c": "folder",
}  # fmt: skip
UNKNOWN = ["s.gif", "s.webp", "S.TXT", "s.pn", "s.tar.gz", "s.7z", "s.mp4", "run.v2.zip", "s.v2b"]
SAMPLES = ("npz", "png", "jpg", "json", "folder")


@pytest.mark.parametrize("name", KNOWN)
def test_the_ending_says_what_is_written_whatever_its_case(name):
    assert kind_of(name) == KNOWN[name]
    check_name(name, SAMPLES, "a name for samples")


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_ending_of_something_else_is_refused(name, tmp_path, monkeypatch):
    with pytest.raises(ValueError) as refused:
        check_name(name, ("npz", "png", "jpg", "folder"), "a name for samples")
    assert str(refused.value) == (
        f"--out={name} is not a name for samples; give a name that ends with .npz, .png, .jpg or"
        " .jpeg, or one of a folder, without an ending (numbers and versions, as in run.v2, are"
        " none) or with a slash at its end."
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()  # a folder that is there may have any name
    check_name(name, SAMPLES, "a name for samples")


@pytest.mark.parametrize("name", ["s.npz", "s", "s.gif", "s.png/"])
def test_what_is_not_written_is_refused_too(name):
    with pytest.raises(ValueError, match=r"not a picture; give .* with \.png, \.jpg or \.jpeg\.$"):
        check_name(name, ("png", "jpg"), "a picture")
    with pytest.raises(ValueError, match=r"is not a file for JSON; give a name .* with \.json\.$"):
        check_name(name, ("json",), "a file for JSON")


def test_a_file_where_a_folder_is_meant():
    with pytest.raises(
        ValueError, match=r"report.html is not a folder; give a name of a folder, w"
    ):
        check_name("report.html", ("folder",), "a folder")
