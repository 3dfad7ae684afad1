"""JSON is used only after its size, its depth and its numbers have been looked at."""

import json
import os

import pytest

from diffusion_tf.config import Config
from diffusion_tf.config.original import read_config
from diffusion_tf.evaluation.results import Results
from diffusion_tf.evaluation.schema import Data, Source
from diffusion_tf.utils import json_files
from diffusion_tf.utils.files import write_json
from diffusion_tf.utils.json_files import NotJSON, parse_json, read_json_object

BAD = {
    "deep": ("[" * 200_000, "nested more than 50 deep"),
    "deep and closed": ('{"a": ' + "[" * 60 + "]" * 60 + "}", "nested more than 50 deep"),
    "deep objects": ('{"a": ' * 60 + "1" + "}" * 60, "nested more than 50 deep"),
    "a whole number of 5,000 digits": ('{"steps": ' + "9" * 5000 + "}", "of 5000 digits"),
    "a negative one": ('{"seed": -' + "9" * 41 + "}", "of 41 digits"),
    "half of a character": ('{"warm_start": "\\ud800"}', "warm_start is .*no text can have"),
    "NUL": ('{"a": [{"name": "a\\u0000b"}]}', "name is .*no text can have"),
    "NUL in a name": ('{"a\\u0000b": 1}', "a field .*cannot be a name"),
    "a field twice": ('{"lr": 1, "steps": 2, "lr": 3}', "it has the field 'lr' twice"),
    "millions of values": ("[" + "[],{}," * 2**21 + "0]", "more than 1,048,576 values"),
    "not JSON": ("{", "Expecting property name"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_usable_is_refused_before_it_is_used(tmp_path, name):
    text, message = BAD[name]
    with pytest.raises(NotJSON, match=message):
        parse_json(text)
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{path} is not valid JSON .*{message}.*restore") as error:
        read_json_object(path)
    assert len(str(error.value)) < 300 + len(str(path))


READERS = {
    "config.json": read_config,
    "kwargs.json": read_config,
    "metrics.json": lambda path: Results(path.parent, source=SOURCE, data=Data("digits")),
}
SOURCE = Source(kind="images", path="a.npz", step=None, weights=None, config=None)


@pytest.mark.parametrize("text", [BAD["deep"][0], BAD["a whole number of 5,000 digits"][0]])
@pytest.mark.parametrize("name", READERS)
def test_every_reader_refuses_it_and_names_the_file(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name} is not valid JSON"):
        READERS[name](tmp_path / name)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "a.json"
    with open(path, "wb") as file:
        file.truncate(json_files.MAX_BYTES + 1)
    with pytest.raises(ValueError, match="a.json has more than 16,777,216 bytes"):
        read_json_object(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(OSError, match="config.json is a named pipe; name a regular file"):
        read_config(tmp_path / "config.json")
    with pytest.raises(OSError, match="/dev/zero is a device"):
        read_json_object("/dev/zero")


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_a_config_takes_no_such_text_either(text):
    with pytest.raises(ValueError, match="warm_start is .*; it must be a text, without NUL"):
        Config(warm_start=text)


def test_json_is_written_in_order_and_read_again(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, None], "a": "\u00e9"})
    assert (tmp_path / "a.json").read_text().index('"a"') < 10
    assert read_json_object(tmp_path / "a.json") == {"a": "\u00e9", "b": [1, None]}


def test_what_people_have_is_read():
    name = os.fsdecode(b"caf\xe9")  # a legal name of a file that is not UTF-8
    values = {"path": name, "seed": -(2**63), "numbers": [[1.5, 2]] * 10_000, "text": "\U0001f600"}
    assert parse_json(json.dumps(values)) == values
    assert parse_json("[" * 50 + "]" * 50)


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"]
)
def test_a_byte_order_mark_says_the_encoding(tmp_path, encoding):
    text = '{"name": "\u00e9\u4e16", "steps": 3}'
    mark = "" if encoding in ("utf-8-sig", "utf-16", "utf-32") else "\ufeff"
    (tmp_path / "a.json").write_bytes((mark + text).encode(encoding))
    assert read_json_object(tmp_path / "a.json") == {"name": "\u00e9\u4e16", "steps": 3}


def test_a_mark_before_a_text_is_no_part_of_it():
    assert parse_json('\ufeff{"a": 1}') == {"a": 1}
    with pytest.raises(NotJSON):
        parse_json('{"a": \ufeff1}')


@pytest.mark.parametrize("data", [b"\xff\xfe{", b"\xef\xbb\xbf\xff", b"{\x00}\x00"])
def test_what_a_mark_does_not_help_is_refused(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(ValueError, match="a.json is not valid JSON .*; restore or delete it"):
        read_json_object(tmp_path / "a.json")


def test_a_config_with_a_mark_is_read(tmp_path):
    (tmp_path / "config.json").write_text(Config(ch=64).to_json(), encoding="utf-8-sig")
    assert Config.load(tmp_path / "config.json") == Config(ch=64)
