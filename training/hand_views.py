"""Training on views of hands: fit the finder, draw further hands, cut the views out
once, vary them.

A view is ``(V, V, 4)`` uint8: RGB, and how surely a pixel is hand. Since the hand is
known, its background can be replaced while training, which is what makes a network
that has seen few rooms ready for others.
"""

import contextlib
import functools
import itertools
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from data_prep import leftovers
from data_prep.drawing.hand_poses import CLASSES, NOTHING
from data_prep.drawing.scene import draw_image
from data_prep.errors import InputError
from data_prep.parallel import cpu_count, run_chunks
from training import distributed
from training.augment import OTHER_ROOMS, noise_pool, random_affine, recolour, roughen
from training.hand_finder import VIEW_SIZE, HandFinder, HandView
from training.hand_scenes import (
    DIM,
    Scenes,
    blend,
    collect_backgrounds,
    collect_hands,
    empty_room,
    vary_background,
)
from training.loader import in_advance, plain_batches, processes_in_advance
from training.network import autocast_for, pick_device
from training.optimisation import Recipe, make_optimizer, set_learning_rate

STEPS, FINDER_BATCH, RATE = 4000, 32, 1e-2
FINDER_FILE = "hand_finder.pt"
FINDER_SHARE = 0.15  # of --max-minutes
EXAMPLES = 720  # drawn hands a class, at most
EMPTY = 0.1  # empty rooms, as a share of the photographs; at most 2 * EXAMPLES
REPLACED = 0.6  # of the views with a sure mask, share that gets another background


def learn_to_see(
    view: HandView,
    train: tuple,
    classes: list[str],
    recipe: Recipe,
    out: Path,
    resume: str = "",
) -> "VaryView":
    """Train the hand finder of a view, or take it over from the run that is resumed.

    Args:
        view: Its finder's weights are set.
        train: ``(N, S, S, 3)`` uint8 images and ``(N,)`` int64 labels.
        classes: Names of the labels.
        recipe: Has budget and seed.
        out: FINDER_FILE is written there.
        resume: Folder of the run to resume; "" for none.

    Returns:
        The augmentation of views.

    Raises:
        InputError: The run to resume has no finder.
    """
    backgrounds = collect_backgrounds(*train, classes, VIEW_SIZE, recipe.seed)
    state = None
    if resume:
        state = load_finder(Path(resume) / FINDER_FILE)
    elif not distributed.rank():
        # never more scenes than the classifier gets to see views
        steps = min(STEPS, recipe.epochs * (1 + len(train[1]) // FINDER_BATCH))
        minutes = recipe.max_minutes * FINDER_SHARE
        found = fit_finder(
            *(train[0], backgrounds, recipe.seed, pick_device(), minutes, steps)
        )
        state = {key: value.cpu() for key, value in found.state_dict().items()}
    state = distributed.share(state)
    view.finder.load_state_dict(state)
    if not distributed.rank():
        torch.save(state, out / FINDER_FILE)
    return VaryView(backgrounds)


def load_finder(file: Path) -> dict:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{file} cannot be read ({' '.join(str(error).split())[:80]}); --resume "
            "must name a run that was started with --find-hand"
        ) from None


@contextlib.contextmanager
def scratch(out: Path):
    """A folder for views in ``out``; those that killed runs beside it left are removed.

    Yields:
        Its path.
    """
    leftovers.remove_folders(out.parent.glob("*/.views-*"))
    with (
        leftovers.holding(out),
        tempfile.TemporaryDirectory(prefix=".views-", dir=out) as folder,
    ):
        yield Path(folder)


def fit_finder(
    images: np.ndarray,
    backgrounds: np.ndarray,
    seed: int,
    device: torch.device,
    minutes: float = 0.0,
    steps: int = STEPS,
) -> HandFinder:
    """Train a finder on scenes made from drawn hands and the training photographs.

    Args:
        images: ``(N, S, S, 3)`` uint8 RGB.
        backgrounds: ``(M, V, V, 3)`` uint8, from `collect_backgrounds`.
        seed: Of weights and scenes.
        device: To train on.
        minutes: Budget that the schedule fits; 0 is no limit.
        steps: Of 32 scenes each.
    """
    torch.manual_seed(seed)
    scenes = Scenes(
        collect_hands(images, VIEW_SIZE, seed),
        backgrounds,
        noise_pool(VIEW_SIZE, seed),
        seed,
    )
    finder = HandFinder().to(device, memory_format=torch.channels_last).train()
    optimizer = make_optimizer(finder, Recipe(lr=RATE, weight_decay=0.01), set())
    started = time.monotonic()
    make = functools.partial(scenes.batch, count=FINDER_BATCH)
    processes = processes_in_advance(device, FINDER_BATCH * 4 * VIEW_SIZE**2)
    batches = in_advance(make, itertools.count(), processes)
    with (
        contextlib.closing(batches),
        tqdm(
            total=steps * FINDER_BATCH, desc="find hands", unit="img", disable=None
        ) as bar,
    ):
        for step in range(steps):
            progress = step / steps
            if minutes:
                spent = (time.monotonic() - started) / (60 * minutes)
                progress = max(progress, spent)
            if progress >= 1:  # out of time
                break
            rate = RATE * min(1, progress / 0.1, (1 - progress) / 0.6)
            set_learning_rate(optimizer, rate)
            pictures, masks = next(batches)
            pixels = pictures.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
            truth = masks.to(device, non_blocking=True)[:, None].float() / 255
            with autocast_for(finder, device):
                logits = finder(pixels)
            loss = finder_loss(logits.float(), truth)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            bar.update(FINDER_BATCH)
    return finder.eval()


def finder_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, and half the Dice loss (Milletari et al. 2016), which counts small
    hands as much as large ones. Both arguments are ``(N, 1, H, W)``."""
    sure = logits.sigmoid()
    overlap = (2 * (sure * truth).sum((1, 2, 3)) + 1) / (
        (sure + truth).sum((1, 2, 3)) + 1
    )
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, truth)
    return entropy + 0.5 * (1 - overlap).mean()


def cut_views(view: HandView, file: Path, *parts: np.ndarray) -> np.ndarray:
    """Cut the views of all images out, once, into a file.

    Of several processes the first cuts, for all.

    Args:
        view: Of a trained finder.
        file: To write.
        parts: ``(N, S, S, 3)`` uint8 each.

    Returns:
        ``(N, V, V, 4)`` uint8 of all parts, a memory map of the file.
    """
    if distributed.rank() == 0:
        _write_views(view, file, parts)
    distributed.share(None)  # wait for it
    return np.load(file, mmap_mode="r")


def _write_views(view: HandView, file: Path, parts: tuple) -> None:
    device = view.grid.device
    total = sum(map(len, parts))
    shape = (total, VIEW_SIZE, VIEW_SIZE, 4)
    views = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
    with (
        torch.inference_mode(),
        autocast_for(view, device),
        tqdm(total=total, desc="cut views", disable=None, leave=False) as bar,
    ):
        done = 0  # a bar that is not shown does not count
        for batch in itertools.chain.from_iterable(map(plain_batches, parts)):
            pixels = batch.to(device).permute(0, 3, 1, 2).float()
            made = view(pixels).permute(0, 2, 3, 1).round().clamp(0, 255).byte()
            views[done : done + len(made)] = made.cpu().numpy()
            done += len(made)
            bar.update(len(made))


def draw_examples(
    classes: list[str],
    photographs: int,
    size: int,
    seed: int,
    backgrounds: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Draw hands for the classifier, further signers; and rooms without a hand, in
    whose clutter the finder may believe to see one.

    Args:
        classes: Names of the labels; those that cannot be drawn are left out.
        photographs: How many there are; at most twice as many hands are drawn.
        size: Side of the images, pixels.
        seed: Of all that varies.
        backgrounds: From `collect_backgrounds`.

    Returns:
        ``(M, size, size, 3)`` uint8 RGB, drawn in the first process only; ``(M,)``
        int64 labels; and where each comes from, as the sources of photographs say it.
    """
    known = [i for i, name in enumerate(classes) if name in CLASSES]
    count = min(EXAMPLES, 2 * photographs // len(classes))
    hands = np.repeat(np.array(known, np.int64), count)
    rooms = min(2 * EXAMPLES, int(EMPTY * photographs)) if NOTHING in classes else 0
    empty = np.full(rooms, classes.index(NOTHING) if rooms else 0, np.int64)
    labels = np.concatenate([hands, empty])
    drawn = np.empty((len(labels), size, size, 3), np.uint8)
    if distributed.rank() == 0:
        names, done = [classes[i] for i in hands], 0
        draw = functools.partial(_draw, seed, size)
        for part in run_chunks(draw, names, cpu_count(), "draw hands"):
            drawn[done : done + len(part)] = part
            done += len(part)
        rng = np.random.default_rng([seed, 8])
        noise = noise_pool(size, seed)
        for room in drawn[done:]:
            picture = cv2.resize(empty_room(backgrounds, rng), (size, size))
            room[:] = roughen(picture, rng, noise)
    return drawn, labels, ["drawn hands"] * len(hands) + ["empty rooms"] * rooms


def _draw(seed: int, size: int, first: int, names: list[str]) -> np.ndarray:
    rng = np.random.default_rng([seed, 7, first])
    return np.stack([draw_image(name, rng, size, strangers=True) for name in names])


class VaryView:
    """The augmentation of views, in place of `augment.augment` for photographs.

    Args:
        backgrounds: ``(M, V, V, 3)`` uint8, to be put behind hands.
    """

    def __init__(self, backgrounds: np.ndarray):
        self.backgrounds = backgrounds

    def __call__(self, view, rng, noise, strength: float = 1.0, flip: bool = False):
        """Vary one view ``(V, V, 4)`` uint8; arguments as those of `augment`."""
        size = len(view)
        where = random_affine(
            *(rng, size, 22 * strength, (0.75**strength, 1.3**strength)),
            *(0.1 * strength, 0.15 * strength, 0.12 * strength, flip / 2),
        )
        light = OTHER_ROOMS.times(strength)
        replaced = rng.random() < REPLACED * strength and is_sure(
            cv2.extractChannel(view, 3)
        )
        border = cv2.BORDER_CONSTANT if replaced else cv2.BORDER_REFLECT
        both = cv2.warpAffine(view, where, (size, size), borderMode=border)
        picture = cv2.cvtColor(both, cv2.COLOR_RGBA2RGB)
        mask = cv2.extractChannel(both, 3)
        if replaced:
            # always another one: 2000 made ready beforehand cost about a point
            behind = self.backgrounds[rng.integers(len(self.backgrounds))]
            picture = blend(
                recolour(picture, rng, light), mask, vary_background(behind, rng)
            )
            light = DIM.times(strength)
        picture = roughen(recolour(picture, rng, light), rng, noise, strength)
        varied = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)
        varied[..., 3] = spoil(mask, rng, strength)
        return varied


def is_sure(mask: np.ndarray) -> bool:
    """Say whether a mask ``(V, V)`` uint8 is one clear shape of likely size."""
    mask = np.ascontiguousarray(mask[::2, ::2])  # enough, and four times as fast
    solid = cv2.inRange(mask, 128, 255)
    area = cv2.countNonZero(solid)
    if not 0.08 * mask.size < area < 0.8 * mask.size:
        return False
    unsure = cv2.countNonZero(cv2.inRange(mask, 50, 205))
    _, _, statistics, _ = cv2.connectedComponentsWithStats(solid)
    return bool(unsure < 0.25 * area and statistics[1:, 4].max() > 0.9 * area)


def spoil(mask: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Make a mask worse, as that of a strange photograph would be."""
    u = rng.random(6)
    if u[0] < 0.1 * strength:
        return np.full_like(mask, int(255 * u[1]))
    if u[0] < 0.4 * strength:
        if u[1] < 0.7:
            change = cv2.dilate if u[1] < 0.35 else cv2.erode
            mask = change(mask, np.ones((3, 3), np.uint8))
        size = len(mask)
        side = (0.15 + 0.25 * u[2]) * size
        x, y = u[3] * (size - side), u[4] * (size - side)
        mask = np.ascontiguousarray(mask)
        mask[int(y) : int(y + side), int(x) : int(x + side)] = 255 * (u[5] < 0.5)
    return mask
