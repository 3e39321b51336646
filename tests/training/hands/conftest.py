"""The hand networks, and what is made of them, once for all tests of the hand model."""

import numpy as np
import pytest
import torch
from hand_photographs import LETTERS

from data_prep.errors import InputError
from training.hands.bent_hands import bend_hands
from training.hands.files import find_hand_networks
from training.hands.letters import train_geometry_network
from training.hands.reader import HandReader
from training.hands.reader_graph import reader_graph


@pytest.fixture(scope="session")
def networks():
    """Folder of the hand networks; tests are skipped where they cannot be fetched."""
    try:
        return find_hand_networks()
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def graph(networks):
    return reader_graph()


@pytest.fixture(scope="session")
def read(networks):
    """A function from photographs ``(N, S, S, 3)`` uint8 to their `Reading`."""
    reader = HandReader.load(networks)

    def read_all(images):
        with torch.inference_mode():
            return reader(torch.from_numpy(np.ascontiguousarray(images)))

    return read_all


@pytest.fixture(scope="session")
def letter_network():
    """What knows LETTERS from bent hands alone, without any photograph."""
    hands = bend_hands(LETTERS, each=100, seed=0)
    return train_geometry_network(hands, len(LETTERS), seed=0, steps=120)
