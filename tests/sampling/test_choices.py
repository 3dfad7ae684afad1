"""Which samples are asked for: by their seeds, or so many of each class."""

import pytest

from diffusion_tf.config import get_config
from diffusion_tf.sampling.choices import labels_of_each, number_of_samples, parse_seeds

CLASSES = get_config("digits_conditional", num_classes=3)


@pytest.mark.parametrize(
    "words, seeds",
    [
        ([], ()),
        (["0-3"], (0, 1, 2, 3)),
        (["7"], (7,)),
        (["3", "5", "10-12"], (3, 5, 10, 11, 12)),
        (["-2--1"], (-2, -1)),
        (["-5"], (-5,)),
    ],
)
def test_seeds_are_numbers_and_ranges(words, seeds):
    assert parse_seeds(words) == seeds


@pytest.mark.parametrize(
    "words, message",
    [
        (["a"], "--seeds has 'a'; give numbers and ranges"),
        (["1-"], "--seeds has '1-'; give numbers"),
        (["3-1"], "--seeds has 3-1; a range rises"),
        (["0-99999999999"], "1000000 seeds are the most"),
        ([str(2**63)], "seed is 9223372036854775808"),
    ],
)
def test_other_seeds_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        parse_seeds(words)


def test_so_many_of_each_class():
    assert labels_of_each(2, CLASSES) == "0,0,1,1,2,2"
    with pytest.raises(ValueError, match="this run has none"):
        labels_of_each(2, get_config("digits"))
    with pytest.raises(ValueError, match="per_class is 0"):
        labels_of_each(0, CLASSES)


def test_numbers_that_are_asked_for_agree():
    assert number_of_samples(None, (), None, CLASSES) == 64
    assert number_of_samples(5, (), None, CLASSES) == 5
    assert number_of_samples(None, (1, 2), None, CLASSES) == 2
    assert number_of_samples(6, (), 2, CLASSES) == number_of_samples(None, (), 2, CLASSES) == 6
    message = "numbers of samples: --seeds 2, --per_class 6; leave one out"
    with pytest.raises(ValueError, match=message):
        number_of_samples(None, (1, 2), 2, CLASSES)
