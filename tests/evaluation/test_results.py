"""The folder of an evaluation: begun by one process, gone on with by the next, one at a time."""

import errno
import os
from itertools import count

import pytest

from diffusion_tf.evaluation.results import Results, writing_alone
from diffusion_tf.evaluation.schema import Data, Source, Split
from diffusion_tf.utils.locks import InUse, lock_in, locked
from helpers.file_operations import FINISHED, stopped_at

SOURCE = Source(kind="images", path="images.npz", step=None, weights=None, config=None)
DATA = Data("digits", {"train": Split(8, 9, "0" * 64)})


@writing_alone
def begin(out, overwrite=False):
    results = Results(out, source=SOURCE, data=DATA, overwrite=overwrite)
    results.add("train", {"fid": {"value": 1.0}})


@pytest.mark.parametrize("error", [None, pytest.param(errno.ENOSPC, marks=pytest.mark.slow)])
def test_stopped_at_any_operation_it_goes_on(tmp_path, error):
    for number in count():
        out = tmp_path / str(number)
        ended = stopped_at(number, out, lambda out=out: begin(out), error=error)
        begin(out)
        assert os.listdir(out) == ["metrics.json"]
        if ended == FINISHED:
            assert number > 8
            return


@pytest.mark.parametrize("error", [None, errno.ENOSPC])
def test_stopped_at_any_operation_it_goes_on_overwriting(tmp_path, error):
    other = Data("digits", {"train": Split(4, 9, "1" * 64)})
    for number in count():
        out = tmp_path / str(number)
        Results(out, source=SOURCE, data=other)
        for name in ("samples.npz", "report.html", "bpd_test.partial.npz", "samples.png"):
            (out / name).write_text("of the other one")
        ended = stopped_at(number, out, lambda out=out: begin(out, overwrite=True), error=error)
        begin(out, overwrite=True)
        assert sorted(os.listdir(out)) == ["metrics.json", "samples.png"]
        assert "1111" not in (out / "metrics.json").read_text()
        if ended == FINISHED:
            assert number > 8
            return


def test_a_second_process_is_refused(tmp_path):
    message = f"is being written by process {os.getpid()} on machine"
    with locked(lock_in(tmp_path), tmp_path), pytest.raises(InUse, match=message):
        begin(tmp_path)
    begin(tmp_path)


def test_what_is_not_an_evaluation_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("precious")
    for out in (tmp_path, tmp_path / "file"):
        with pytest.raises(ValueError, match="holds something other than an evaluation"):
            begin(out)
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "precious"
