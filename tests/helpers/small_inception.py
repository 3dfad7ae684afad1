"""A small frozen graph with the tensors of the Inception network."""

import hashlib

import numpy as np
import tensorflow as tf

MATRIX = np.random.default_rng(0).normal(size=(3, 2048)).astype(np.float32)


def small_graph(matrix=MATRIX, classes=1008):
    """pool_3: the mean colour times a matrix; logits: the first features, doubled."""
    graph = tf.Graph()
    with graph.as_default():
        image = tf.compat.v1.placeholder(tf.float32, [None, 299, 299, 3], name="image")
        prepared = tf.multiply(image, 1.0, name="Mul")
        exact = tf.cast(prepared, tf.float64, name="exact")  # float32 would lose digits in the mean
        features = tf.matmul(tf.cast(tf.reduce_mean(exact, [1, 2]), tf.float32), matrix)
        pool = tf.reshape(features, [-1, 1, 1, matrix.shape[1]], name="pool_3")
        tf.multiply(tf.squeeze(pool, [1, 2])[:, :classes], 2.0, name="logits")
    return graph.as_graph_def()


GRAPH = small_graph().SerializeToString()
SHA256 = hashlib.sha256(GRAPH).hexdigest()
