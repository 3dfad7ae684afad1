"""The Inception network's way from a file to features, with a small graph of the same tensors."""

import gzip
import http.server
import io
import os
import tarfile
import threading

import numpy as np
import pytest
import tensorflow as tf
from absl import logging

from diffusion_tf.evaluation.metrics import inception
from diffusion_tf.evaluation.metrics.inception import Inception, load_inception
from diffusion_tf.utils.images import to_pixels
from helpers.small_inception import GRAPH, MATRIX, SHA256, small_graph


def tarball(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return file.getvalue()


GOOD_TARBALL = tarball({"./README": b"hello", f"./{inception.GRAPH_NAME}": GRAPH})


@pytest.fixture(scope="module")
def network():
    return Inception(GRAPH)


def flat(colour, number=1, dtype=np.float32):
    return np.broadcast_to(np.asarray(colour, dtype), (number, 8, 8, 3))


def features_of_0_255(colour):
    return (np.asarray(colour, np.float32) - 128) / 128 @ MATRIX


def test_resize_takes_pixels_from_where_tf1_takes_them():
    # Pixel i of 299 lies at 2 i / 299 of two pixels, 0 and 100, beyond the last of which it stays.
    ramp = np.array([0.0, 100.0], np.float32).reshape(1, 1, 2, 1)
    row = inception.preprocess(tf.constant(ramp)).numpy()[0, 0, :, 0] * 128 + 128
    by_hand = {0: 0, 1: 200 / 299, 74: 14800 / 299, 149: 29800 / 299, 150: 100, 298: 100}
    for index, value in by_hand.items():
        assert row[index] == pytest.approx(value, abs=1e-4)


def test_resize_of_rows_and_of_larger_images():
    # Every 598 / 299 = 2nd row, and nothing of the one between: no antialiasing either.
    rows = np.arange(598, dtype=np.float32).reshape(1, 598, 1, 1)
    prepared = inception.preprocess(tf.constant(rows)).numpy()
    assert prepared.shape == (1, 299, 299, 1)
    expected = (np.arange(0, 598, 2) - 128) / 128
    np.testing.assert_allclose(prepared[0, :, 7, 0], expected, rtol=1e-6, atol=1e-6)


def test_features_and_logits_of_flat_colours(network):
    images = np.stack([flat([-1, 0, 1])[0], flat([0.5, 0.5, -0.25])[0]])
    features, logits = network(images)
    expected = features_of_0_255([[0, 127.5, 255], [191.25, 191.25, 95.625]])
    np.testing.assert_allclose(features, expected, atol=1e-5)
    np.testing.assert_allclose(logits, 2 * features[:, :1008], rtol=1e-6)
    assert (features.dtype, logits.shape) == (np.float32, (2, 1008))


def test_pixels_and_floats_are_the_same_images(network):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    from_pixels, _ = network(pixels)
    from_floats, _ = network(pixels / 127.5 - 1)
    np.testing.assert_allclose(from_floats, from_pixels, atol=1e-5)


def test_floats_are_clipped_and_only_rounded_if_asked(network):
    np.testing.assert_array_equal(network(flat([3, -3, 1]))[0], network(flat([1, -1, 1]))[0])
    images = flat(np.array([0.3, 0.4, 0.5]) / 127.5)  # 127.8, 127.9, 128 of 255
    plain, rounded = network(images)[0], network(images, quantize=True)[0]
    np.testing.assert_array_equal(rounded, network(to_pixels(images))[0])
    expected = features_of_0_255([[127.8, 127.9, 128]])
    np.testing.assert_allclose(plain, expected, atol=1e-5)
    np.testing.assert_allclose(rounded, features_of_0_255([[128, 128, 128]]), atol=1e-6)
    assert abs(plain - rounded).max() > 1e-3


def test_grey_is_repeated(network):
    np.testing.assert_array_equal(
        network(np.full((1, 4, 4, 1), 200, np.uint8))[0], network(flat(200, dtype=np.uint8))[0]
    )


def test_batches_are_those_of_the_whole(network):
    images = np.random.default_rng(0).uniform(-1, 1, (5, 8, 8, 3)).astype(np.float32)
    for got, expected in zip(network(images, batch_size=2), network(images), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((8, 8, 3)),
        np.zeros((1, 8, 8, 2)),
        np.zeros((0, 8, 8, 3)),
        np.zeros((1, 8, 8, 3), int),
    ],
)
def test_other_images_are_refused(network, bad):
    with pytest.raises(ValueError, match="images have dtype .*must be uint8 or float"):
        network(bad)


def test_impossible_values_are_refused(network):
    with pytest.raises(ValueError, match="not finite"):
        network(flat([0, np.nan, 0]))
    with pytest.raises(ValueError, match="batch_size is 0"):
        network(flat([0, 0, 0]), batch_size=0)


def test_a_graph_as_old_as_2015_runs():
    """It has an operation that TensorFlow removed in 2016, and no node for its input."""
    graph = tf.compat.v1.GraphDef.FromString(GRAPH)
    nodes = [node for node in graph.node if node.name not in ("image", "Mul", "Mul/y")]
    (first,) = (node for node in nodes if node.name == "exact")
    first.input[0] = "old"
    del graph.node[:]
    graph.node.extend(nodes)
    graph.versions.producer = 8
    for name, value in (("mean", 0.5), ("variance", 4.0), ("beta", 1.0), ("gamma", 6.0)):
        node = graph.node.add(name=f"old/{name}", op="Const")
        node.attr["dtype"].type = tf.float32.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.full(3, value, np.float32)))
    old = graph.node.add(name="old", op="BatchNormWithGlobalNormalization")
    old.input.extend(["Mul", "old/mean", "old/variance", "old/beta", "old/gamma"])
    old.attr["T"].type = tf.float32.as_datatype_enum
    old.attr["variance_epsilon"].f = 0.0
    old.attr["scale_after_normalization"].b = True
    features, _ = Inception(graph.SerializeToString())(flat([0, 0, 0]))
    normalized = 6 * (((127.5 - 128) / 128 - 0.5) / 2) + 1
    np.testing.assert_allclose(features, normalized * MATRIX.sum(0)[None], atol=1e-5)


@pytest.mark.parametrize(("name", "data"), [("a.pb", GRAPH), ("a.tar.gz", GOOD_TARBALL)])
def test_the_network_comes_from_a_file_and_its_hash_is_logged(tmp_path, monkeypatch, name, data):
    (tmp_path / name).write_bytes(data)
    logged = []
    monkeypatch.setattr(logging, "info", lambda message, *values: logged.append(message % values))
    network = load_inception(tmp_path / name, sha256=SHA256.upper())
    assert network.sha256 == SHA256
    assert logged == [f"Inception graph from {tmp_path / name}, SHA-256 {SHA256}."]
    features, _ = network(flat([255, 128, 0], dtype=np.uint8))
    expected = features_of_0_255([[255, 128, 0]])
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_another_hash_is_refused(tmp_path):
    (tmp_path / "a.pb").write_bytes(GRAPH)
    with pytest.raises(ValueError, match=f"a.pb has the SHA-256 {SHA256}, not 1234;"):
        load_inception(tmp_path / "a.pb", sha256="1234")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*a.pb"):
        load_inception(tmp_path / "a.pb")


def graph_without(name):
    graph = small_graph()
    for node in graph.node:
        if node.name == name:
            node.name = "other"
        node.input[:] = ["other" if source == name else source for source in node.input]
    return graph.SerializeToString()


DAMAGED = bytearray(GOOD_TARBALL)
DAMAGED[len(DAMAGED) // 2] ^= 0xFF
BAD_FILES = {
    "text": (b"no graph", "holds no TensorFlow graph"),
    "empty": (b"", "lacks Mul:0, pool_3:0, logits:0"),
    "truncated graph": (GRAPH[:-100], "holds no TensorFlow graph"),
    "no input": (graph_without("Mul"), "lacks Mul:0;"),
    "no features": (graph_without("pool_3"), "lacks pool_3:0;"),
    "no logits": (graph_without("logits"), "lacks logits:0;"),
    "damaged tarball": (bytes(DAMAGED), "is a damaged tarball"),
    "truncated tarball": (GOOD_TARBALL[:-9], "is a damaged tarball"),
    "start of a tarball": (GOOD_TARBALL[:100], "is a damaged tarball"),
    "bomb": (gzip.compress(bytes(inception.MAX_BYTES + 1), 1), "expands to more than 536,870,912"),
    "other tarball": (tarball({"a.pb": GRAPH}), f"is a tarball without {inception.GRAPH_NAME}"),
}


@pytest.mark.parametrize(("data", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files_are_named(tmp_path, data, message):
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises(ValueError, match=rf"bad.* {message}"):
        load_inception(tmp_path / "bad")


@pytest.fixture
def serve(monkeypatch):
    """Sets the URL to a server on this machine that gives an answer, and counts its requests."""
    answers, requests = [], []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            status, data, promised = answers[-1]
            self.send_response(status)
            if promised is not None:
                self.send_header("Content-Length", str(promised))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/inception_v4.tar.gz"
        monkeypatch.setattr(inception, "URL", url)

        def answer(data, status=200, promised=None):
            answers.append((status, data, promised))
            return requests

        yield answer
        server.shutdown()


def test_the_network_is_fetched_once(tmp_path, serve):
    requests = serve(GOOD_TARBALL)
    for _ in range(2):
        assert load_inception(cache_dir=tmp_path / "new", sha256=SHA256).sha256 == SHA256
    assert requests == ["/inception_v4.tar.gz"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["inception_v4.tar.gz"]


def test_the_cache_is_in_the_folder_of_keras(tmp_path, serve, monkeypatch):
    serve(GOOD_TARBALL)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    load_inception()
    assert (tmp_path / "inception" / "inception_v4.tar.gz").read_bytes() == GOOD_TARBALL


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ({"data": GOOD_TARBALL[:-9], "promised": len(GOOD_TARBALL)}, OSError, "cannot be download"),
        ({"data": GOOD_TARBALL[:-9]}, ValueError, "damaged tarball"),
        ({"data": b"<html>Please log in</html>"}, ValueError, "holds no TensorFlow graph"),
        ({"data": b"", "status": 404}, OSError, "cannot be downloaded .*404.*--inception_path"),
    ],
    ids=["interrupted", "cut off unnoticed", "login page", "gone"],
)
def test_nothing_half_is_kept(tmp_path, serve, answer, error, message):
    serve(**answer)
    with pytest.raises(error, match=message):
        load_inception(cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
    serve(GOOD_TARBALL)
    assert load_inception(cache_dir=tmp_path).sha256 == SHA256


def test_without_a_network_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(inception, "URL", "http://127.0.0.1:9/v4.tar.gz")
    with pytest.raises(OSError, match="127.0.0.1:9.* cannot be downloaded .*--inception_path"):
        load_inception(cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_network_comes_over_https():
    assert inception.URL.startswith("https://")


def with_node(graph, op, name="evil", **strings):
    """A graph with one more node, which nothing refers to."""
    node = graph.node.add(name=name, op=op)
    for key, value in strings.items():
        node.attr[key].s = value.encode()
    return graph


def test_a_graph_that_would_write_a_file_is_refused_and_runs_nothing(tmp_path):
    trace = tmp_path / "trace"
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(small_graph(), name="")
        write = tf.io.write_file(str(trace), "written")
        with tf.control_dependencies([write]):
            tf.identity(graph.get_tensor_by_name("logits:0"), name="after")
        definition = graph.as_graph_def()
    for node in definition.node:  # what is asked for comes after the writing
        node.name = {"logits": "before", "after": "logits"}.get(node.name, node.name)
        node.input[:] = ["before" if source == "logits" else source for source in node.input]
    data = definition.SerializeToString()
    (tmp_path / "a.pb").write_bytes(data)
    with pytest.raises(ValueError, match=r"a.pb has the operation 'WriteFile' .*nothing of it was"):
        load_inception(tmp_path / "a.pb")
    (tmp_path / "a.tar.gz").write_bytes(tarball({f"../{inception.GRAPH_NAME}": data}))
    with pytest.raises(ValueError, match=r"a.tar.gz has the operation 'WriteFile'"):
        load_inception(tmp_path / "a.tar.gz")
    assert not trace.exists()
    with tf.compat.v1.Session(graph=tf.Graph()) as session:  # without the list it would
        logits = tf.graph_util.import_graph_def(definition, return_elements=["logits:0"], name="")
        session.run(logits, {"image:0": np.zeros([1, 299, 299, 3])})
    assert trace.read_text() == "written"


@pytest.mark.parametrize(
    "op", ["ReadFile", "PyFunc", "EagerPyFunc", "RestoreV2", "If", "PartitionedCall", "Other", ""]
)
def test_other_operations_are_refused_by_name_wherever_they_are(op):
    with pytest.raises(ValueError, match=f"has the operation '{op}' .node 'evil'."):
        Inception(with_node(small_graph(), op).SerializeToString())
    graph = small_graph()
    function = graph.library.function.add()
    function.signature.name = "Relu6"  # as harmless as its name
    function.node_def.add(name="inner", op="Relu")
    function.node_def.add(name="evil", op=op)
    with pytest.raises(ValueError, match=f"has the operation '{op}' .node 'evil'."):
        Inception(graph.SerializeToString())


def test_constants_are_not_expanded():
    graph = with_node(small_graph(), "Const")
    node = graph.node[-1]
    node.attr["dtype"].type = node.attr["value"].tensor.dtype = tf.float32.as_datatype_enum
    node.attr["value"].tensor.float_val.append(1.0)
    for size in (10**6, 10**6):
        node.attr["value"].tensor.tensor_shape.dim.add(size=size)
    with pytest.raises(ValueError, match="has constants of 8,000,0.* bytes, more than"):
        Inception(graph.SerializeToString())


def test_a_graph_that_does_not_fit_together_is_named():
    graph = small_graph()
    (node,) = (node for node in graph.node if node.name == "logits")
    node.input[1] = "nothing"
    with pytest.raises(ValueError, match=r"^The graph in a.pb cannot be used .*; pass [^\n]*$"):
        Inception(graph.SerializeToString(), name="a.pb")


def test_names_of_members_lead_nowhere(tmp_path):
    (tmp_path / "in").mkdir()
    data = tarball({"../../evil": b"evil", f"../{inception.GRAPH_NAME}": GRAPH})
    (tmp_path / "in" / "a.tar.gz").write_bytes(data)
    assert load_inception(tmp_path / "in" / "a.tar.gz").sha256 == SHA256
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / "in" / "a.tar.gz"]


def test_a_sparse_member_of_a_tarball_is_not_taken(tmp_path):
    data = bytearray(gzip.decompress(tarball({f"./{inception.GRAPH_NAME}": GRAPH})))
    data[156:157] = b"S"  # GNU's type of a file with holes
    data[257:265] = b"ustar  \0"
    data[386:398] = data[398:410] = b"00000000000\0"  # where its first piece lies, and how long
    data[483:495] = b"77777777777\0"  # 8 GB in all
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(bytes(data)))
    with pytest.raises(ValueError, match="a.tar.gz is a (tarball without|damaged tarball)"):
        load_inception(tmp_path / "a.tar.gz")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.pb")
    with pytest.raises(FileNotFoundError, match="no file .*a.pb"):
        load_inception(tmp_path / "a.pb")
