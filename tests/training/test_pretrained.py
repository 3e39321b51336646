"""A network with weights of the package registry, and layers that stay as they were."""

import pytest
import torch
from coloured_data import write_dataset

from data_prep.errors import InputError
from training import efficientnet_lite
from training.config import RunConfig, TrainConfig
from training.data import open_dataset
from training.run import learn


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("coloured") / "prepared", 64)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Published weights, but for their values: those of a network of our own."""
    torch.manual_seed(5)
    network = efficientnet_lite.efficientnet_lite0(1000, 64, 3)
    state = network.state_dict()
    published = {f"_{i}": tensor for i, tensor in enumerate(state.values())}
    torch.save(published, tmp_path / efficientnet_lite.WEIGHTS)
    monkeypatch.setattr(
        efficientnet_lite, "published_weights", lambda: state, raising=True
    )
    monkeypatch.setattr("training.models.published_weights", lambda: state)
    read = efficientnet_lite.renamed(tmp_path / efficientnet_lite.WEIGHTS)
    assert all(torch.equal(read[name], state[name]) for name in state)
    return state


def train(dataset, out, **options):
    """Train without exporting; return the classifier."""
    run_config = RunConfig(
        model="efficientnet_lite0", pretrained=options.pop("pretrained", True)
    )
    train_config = TrainConfig(epochs=2, batch_size=16, **options)
    data = open_dataset(dataset, run_config, train_config)
    return learn(data, out, run_config, train_config)[0]


def test_frozen_layers_stay_and_what_is_exported_has_all_of_them(
    dataset, weights, tmp_path
):
    out = tmp_path / "run"
    classifier = train(dataset, out, frozen_layers=12, frozen_views=2)

    kept = torch.load(out / "checkpoint.pt", weights_only=True)
    state = classifier.state_dict()
    assert list(state) == list(kept)
    assert all(torch.equal(state[name], kept[name]) for name in kept)
    for name, tensor in weights.items():
        layer = int(name.split(".")[0])
        if layer < 12 and tensor.is_floating_point():
            assert torch.equal(kept[f"network.{name}"], tensor), name
    changed = kept["network.15.layers.0.weight"] != weights["15.layers.0.weight"]
    assert changed.any()


@pytest.mark.parametrize(
    "options, said",
    [
        ({"frozen_layers": 40}, "this model has 21 that can be"),
        ({"frozen_layers": 3, "pretrained": False}, "would keep random weights"),
    ],
)
def test_layers_that_cannot_be_frozen_are_told(
    options, said, dataset, weights, tmp_path
):
    with pytest.raises(InputError, match=said):
        train(dataset, tmp_path / "run", **options)


def test_padding_is_that_which_trained_the_weights():
    # TensorFlow: as many positions as steps fit, and more padding at the end
    for side, kernel, stride, missing in (
        (224, 3, 2, 1),
        (56, 5, 2, 3),
        (14, 5, 1, 4),
        (7, 3, 2, 2),
    ):
        padding = efficientnet_lite.SamePadding(kernel, stride)
        assert padding.missing(side) == missing
        padded = padding(torch.ones(1, 1, side, side))[0, 0]
        assert padded[0].sum() == (0 if missing > 1 else side)
        assert padded[-1].sum() == 0
