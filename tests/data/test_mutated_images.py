"""The campaign of damaged images counts what it is run for."""

import os
from functools import partial

from raw_sets import encoded, picture

from benchmarks import mutated_images
from benchmarks.hostile_images import originals
from data_prep.preprocessing import Preprocessing

TEXT = b"no image"


def deadly(number: int) -> bytes:
    """An image, but for one at which a process ends and one that is none."""
    if number == 3:
        os.abort()
    return TEXT if number == 5 else encoded(picture(number))


def test_an_image_that_ends_the_decoder_is_counted_and_the_others_are_tried():
    outcome, results = mutated_images.through_decoder(deadly, 8, Preprocessing(32))
    assert outcome.killed == [3] and results[3] is None
    assert (outcome.answered, outcome.refused, outcome.wrong) == (6, 1, [])
    assert "no JPEG" in results[5] and results[7].shape == (32, 32, 3)


def test_damaged_images_are_decoded_or_refused():
    maker = partial(mutated_images.make, originals([picture(1)]), 7, 60)
    outcome, _ = mutated_images.through_decoder(maker, 60, Preprocessing(32))
    assert not outcome.killed and not outcome.wrong
    assert outcome.answered > 5 and outcome.refused > 5
    assert outcome.answered + outcome.refused == 60
