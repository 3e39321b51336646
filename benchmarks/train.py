"""How fast training is, against its own limit and against the obvious loop.

    scripts/bench train [--raw DIR] [--model small_resnet] [--image-size 96]

Three rates of the same network on the same photographs, in images/s, measured one after
another in one run:

    bare      forward, backward and our optimizer's step on one batch again and again
    ours      training/loop.py as it is: packed pixels, augmentation, averaged weights
    obvious   ImageFolder, torchvision v2 transforms, DataLoader, float32
"""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from data_prep import packed, preparation
from data_prep.command_line import command_parser
from data_prep.draw import draw_dataset
from data_prep.errors import exit_2_on_input_error
from data_prep.preprocessing import FILE_NAME, Preprocessing
from data_prep.sources import find_images
from training.augment import ROTATION, SCALE, SHIFT
from training.config import TrainConfig
from training.loop import fit
from training.models import build_model
from training.network import Classifier, autocast_for, pick_device
from training.optimisation import make_optimizer
from training.torch_setup import import_torchvision, keep_freed_memory


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "scripts/bench train",
        description="Measure the speed of training.",
        example="--batch-size 64",
    )
    parser.add_argument(
        "--raw", metavar="DIR", help="a folder of class folders (default: drawn hands)"
    )
    parser.add_argument("--model", default="small_resnet", help="see training.train")
    parser.add_argument("--image-size", type=int, default=96, help="pixels")
    parser.add_argument("--batch-size", type=int, default=64, help="images")
    parser.add_argument(
        "--seconds", type=float, default=20, help="of each measurement, at least"
    )
    return parser


@exit_2_on_input_error
def main() -> None:
    args = arguments().parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory(prefix="asl-bench-") as temporary:
        folder = Path(temporary)
        raw = Path(args.raw) if args.raw else draw_dataset(folder / "raw", 40)
        images = find_images([str(raw)]).images
        record = Preprocessing(image_size=args.image_size)
        options = preparation.Options(preprocessing=record)
        preparation.prepare(images, folder / "prepared", options, os.cpu_count())
        rates = {
            "bare": bare(args, folder / "prepared"),
            "ours": ours(args, folder / "prepared"),
            "obvious": obvious(args, raw),
        }
    print(f"{args.model} at {args.image_size} px, batch {args.batch_size}; {machine()}")
    for name, rate in rates.items():
        print(f"  {name:8} {rate:8.0f} images/s")
    print(f"  ours / bare     {rates['ours'] / rates['bare']:.2f}")
    print(f"  ours / obvious  {rates['ours'] / rates['obvious']:.2f}")


def machine() -> str:
    """Name what the figures were measured on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    name = line.split(":")[1].strip()
                    break
    return f"{len(os.sched_getaffinity(0))} cores of {name}"


def new_classifier(args, folder: Path) -> Classifier:
    record = Preprocessing.load(folder / FILE_NAME)
    classes = len(packed.read_classes(folder))
    network = build_model(args.model, classes, record.image_size)
    return Classifier(network, record).to(pick_device())


def bare(args, folder: Path) -> float:
    classifier = new_classifier(args, folder).to(memory_format=torch.channels_last)
    device = next(classifier.parameters()).device
    autocast = autocast_for(classifier, device)
    optimizer = make_optimizer(classifier.network, TrainConfig(), set())
    images, labels = packed.load_split(folder, "train")
    x = torch.from_numpy(images[: args.batch_size].copy()).to(device)
    y = torch.from_numpy(labels[: args.batch_size]).to(device)

    def step():
        with autocast:
            loss = nn.functional.cross_entropy(classifier.logits(x).float(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return len(y)

    return rate_of(step, args.seconds)


def ours(args, folder: Path) -> float:
    train_config = TrainConfig(
        epochs=1000, batch_size=args.batch_size, max_minutes=args.seconds / 60
    )
    splits = [packed.load_split(folder, name) for name in ("train", "val")]
    history = fit(
        new_classifier(args, folder), *splits, train_config, folder, lambda *_: None
    )
    # the first epoch waits for processes to start, and the last may be cut short
    rates = [row["images_per_s"] for row in history[1:-1] or history]
    return sum(rates) / len(rates)


def obvious(args, raw: Path) -> float:
    torchvision = import_torchvision()
    from torchvision.transforms import v2

    size = args.image_size
    transform = v2.Compose(
        [
            v2.Resize((size, size)),
            v2.RandomAffine(ROTATION, (SHIFT, SHIFT), SCALE),
            v2.ColorJitter(0.3, 0.3, 0.1),
            v2.RandomApply([v2.GaussianBlur(3)], 0.2),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.25] * 3),
            v2.RandomErasing(0.4),
        ]
    )
    data = torchvision.datasets.ImageFolder(raw, transform)
    loader = torch.utils.data.DataLoader(
        data,
        args.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=os.cpu_count(),
        persistent_workers=True,
    )
    device = pick_device()
    network = build_model(args.model, len(data.classes), size).to(device)
    optimizer = torch.optim.AdamW(network.parameters())

    def endless():
        while True:
            yield from loader

    batches = endless()

    def step():
        x, y = next(batches)
        loss = nn.functional.cross_entropy(network(x.to(device)), y.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return len(y)

    return rate_of(step, args.seconds)


def rate_of(step, seconds: float) -> float:
    """Images a second of a step, after three steps to warm up."""
    for _ in range(3):
        step()
    images, started = 0, time.monotonic()
    while (elapsed := time.monotonic() - started) < seconds:
        images += step()
    return images / elapsed


if __name__ == "__main__":
    main()
