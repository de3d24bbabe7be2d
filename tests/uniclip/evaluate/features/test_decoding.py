"""Decoding in processes: the same images, whatever their number and the order of the batches."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from uniclip.errors import UserError
from uniclip.evaluate.features.decoding import decode_ahead

NUM_IMAGES = 600
BATCHES = [np.arange(start, min(start + 256, NUM_IMAGES)) for start in range(0, NUM_IMAGES, 256)]


def load(index):
    draws = [np.random.Generator(np.random.Philox(key=int(i))) for i in index]
    return np.stack([d.integers(0, 256, (3, 4, 4), np.uint8) for d in draws])


@pytest.mark.parametrize("num_workers", [0, 1, 4])
@pytest.mark.parametrize("batches", [BATCHES, BATCHES[::-1], [np.array([5]), *BATCHES[1:]]])
def test_the_images_are_the_same(num_workers, batches):
    with decode_ahead(load, NUM_IMAGES, num_workers) as load_ahead:
        for batch in batches:
            assert np.array_equal(load_ahead(batch), load(batch))


def test_batches_are_decoded_elsewhere_and_ahead():
    def name_process(index):
        return np.full((len(index), 3, 1, 1), os.getpid() % 251, np.uint8)

    with decode_ahead(name_process, NUM_IMAGES, 1) as load_ahead:
        assert (load_ahead(BATCHES[0]) != os.getpid() % 251).all()
        (part,) = load_ahead.__self__._next_parts
        assert len(part.result()) == 256


def test_an_unreadable_image_is_one_line():
    def refuse(index):
        if 300 in index:
            raise UserError("image 300 cannot be read")
        return load(index)

    with decode_ahead(refuse, NUM_IMAGES, 2) as load_ahead:
        load_ahead(BATCHES[0])  # the next batch, which is decoded ahead, is the faulty one
        with pytest.raises(UserError, match=r"^image 300 cannot be read$"):
            load_ahead(BATCHES[1])


def test_a_killed_process_is_one_line():
    def die(index):
        os.kill(os.getpid(), signal.SIGKILL)
        return load(index)

    with (
        decode_ahead(die, NUM_IMAGES, 1) as load_ahead,
        pytest.raises(UserError, match=r"runtime\.num_workers=0"),
    ):
        load_ahead(BATCHES[0])
