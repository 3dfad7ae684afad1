"""Rows of a table of tests of which README's command runs some; `-m slow` runs the others."""

import pytest


def mostly_slow(rows, fast):
    """The rows, all slow but those for which `fast` is true.

    Args:
        rows: each a tuple, or a value where a test has one parameter.
        fast: called with the values of a row.
    """
    for row in rows:
        row = row if isinstance(row, tuple) else (row,)
        yield pytest.param(*row, marks=[] if fast(*row) else pytest.mark.slow)


def modes(*rows):
    """For `compiled` and parameters after it: the first row in every mode, others in a graph.

    Other rows in other modes are slow. It needs `indirect=["compiled"]`.
    """
    rows = [row if isinstance(row, tuple) else (row,) for row in rows]
    every = [(mode, *row) for row in rows for mode in ("eager", "graph", "jit")]
    return list(mostly_slow(every, lambda mode, *row: mode == "graph" or row == rows[0]))
