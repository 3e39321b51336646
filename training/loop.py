"""The training loop: augmented batches, averaged weights, best epoch, resumable."""

import contextlib
import copy
import itertools
import math
import shutil
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import f1_score

from data_prep.errors import InputError
from data_prep.progress import LiveLine, Pace, duration
from training import distributed
from training.augment import augment
from training.config import TrainConfig
from training.interrupted import LAST_FILE
from training.loader import TrainBatches, plain_batches
from training.network import Classifier, Logits, autocast_for
from training.optimisation import (
    EMA,
    Criterion,
    learning_rate,
    make_optimizer,
    set_learning_rate,
)

BEST_FILE = "checkpoint.pt"  # state dict of the classifier's averaged weights
# TensorBoard tag -> key of a history row; ClearML shows "title/series".
TAGS = {
    "loss/train": "train_loss",
    "loss/val": "val_loss",
    "accuracy/val": "val_accuracy",
    "macro_f1/val": "val_macro_f1",
    "weighted_f1/val": "val_weighted_f1",
    "learning_rate/peak": "learning_rate",
    "speed/images_per_s": "images_per_s",
}


def fit(
    classifier: Classifier,
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
    train_config: TrainConfig,
    folder: Path,
    log: Callable[[str, float, int], None],
    loaded: AbstractSet[str] = frozenset(),
    resume: Path | None = None,
    transform: Callable = augment,
    sample_weights: np.ndarray | None = None,
    what: str = "",
) -> list[dict]:
    """Train in place; on return ``classifier`` holds the weights of the best epoch.

    Under ``torchrun`` every process calls this; the first one validates and saves.

    Args:
        classifier: On the device to train on.
        train: ``(N, S, S, 3)`` uint8 images and ``(N,)`` int64 labels.
        val: The same; judges each epoch, by the averaged weights' accuracy.
        train_config: How to train.
        folder: For BEST_FILE and LAST_FILE, written after each epoch.
        log: Called with (tag such as "loss/train", value, epoch).
        loaded: Parameters of the network that were loaded: its backbone.
        resume: LAST_FILE of an interrupted run with the same options. What follows is
            what would have followed there, to the bit on the same CPU.
        transform: The augmentation, called as `augment` is.
        sample_weights: ``(N,)`` how often to draw each image; None for equally often.
        what: What learns, where it is a part of the model; its progress is called so.

    Returns:
        One dict an epoch: epoch, train_loss, val_loss, val_accuracy, val_macro_f1,
        val_weighted_f1, learning_rate, images_per_s, seconds.

    Raises:
        InputError: The loss is no longer a finite number, or ``resume`` does not fit.
    """
    device = next(classifier.parameters()).device
    classifier.to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(classifier).eval().requires_grad_(False)
    ema = EMA(averaged, classifier)
    criterion = Criterion(classifier.network, train_config)
    optimizer = make_optimizer(classifier.network, train_config, loaded)
    autocast = autocast_for(classifier, device)
    batches = TrainBatches(
        images=train[0],
        labels=train[1],
        batch_size=train_config.batch_size,
        seed=train_config.seed,
        transform=transform,
        sample_weights=sample_weights,
        strength=train_config.augment,
        flip=train_config.flip,
    )
    run = Progress(train_config, len(batches), what)
    if resume:
        run.load(resume, classifier, averaged, optimizer, device)
        if distributed.rank() == 0:
            print(f"going on from epoch {run.epoch + 1} of {train_config.epochs}")
        best = resume.parent / BEST_FILE
        if distributed.rank() == 0 and best.resolve() != (folder / BEST_FILE).resolve():
            shutil.copyfile(best, folder / BEST_FILE)  # no later epoch may beat it
    model = distributed.parallel(Logits(classifier))

    first = distributed.rank() == 0
    size = batches.batch_size
    with (
        contextlib.closing(batches.from_epoch(run.epoch, device)) as endless,
        LiveLine() as live,
    ):
        while not distributed.share(run.is_over()):
            torch.manual_seed(train_config.seed * 100003 + run.epoch)  # of dropout
            train_mode(classifier)
            loss_sum, progress = 0.0, 0.0
            started, first_step = time.monotonic(), run.step
            for images, labels in itertools.islice(endless, len(batches)):
                progress = run.progress()
                if train_config.max_minutes:  # clocks differ, rates must not
                    progress = distributed.share(progress)
                set_learning_rate(optimizer, learning_rate(progress, train_config))
                with autocast:
                    logits = model(images.to(device, non_blocking=True))
                loss = criterion(logits, labels.to(device, non_blocking=True))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                if train_config.grad_clip:
                    torch.nn.utils.clip_grad_norm_(
                        classifier.parameters(), train_config.grad_clip
                    )
                optimizer.step()
                run.step += 1
                decay = min(train_config.ema, (1 + run.step) / (10 + run.step))
                ema.update(decay)
                loss_sum = loss_sum + loss.detach()
                if first:
                    live.show(run.text(run.pace.update(run.step), size))
                if progress >= 1:
                    break
            steps = run.step - first_step
            train_loss = float(loss_sum) / steps
            if not distributed.share(math.isfinite(train_loss)):
                raise InputError(
                    f"the training loss became {train_loss} in epoch {run.epoch + 1}; "
                    f"lower --lr (it is {train_config.lr}) or set --grad-clip 1"
                )
            speed = steps * size / (time.monotonic() - started)
            run.epoch += 1
            if first:
                row = {
                    "epoch": run.epoch - 1,
                    "train_loss": train_loss,
                    **score(averaged, *val),
                    "learning_rate": learning_rate(progress, train_config),
                    "images_per_s": speed,
                    "seconds": run.seconds(),
                }
                for tag, key in TAGS.items():
                    log(tag, row[key], row["epoch"])
                if run.note(row):
                    save(folder / BEST_FILE, averaged.state_dict())
                run.save(folder / LAST_FILE, classifier, averaged, optimizer)
    if first:
        best = torch.load(folder / BEST_FILE, map_location=device, weights_only=True)
        classifier.load_state_dict(best)
    return run.history


def train_mode(module: torch.nn.Module) -> None:
    """Switch to training mode; batch norm and dropout of frozen parts stay off."""
    module.train()
    for part in module.modules():
        frozen = [not parameter.requires_grad for parameter in part.parameters()]
        if frozen and all(frozen):
            part.eval()


class Progress:
    """How far a run is, and what it needs to be resumed."""

    def __init__(self, train_config: TrainConfig, steps_per_epoch: int, what: str = ""):
        self.train_config, self.what = train_config, what
        self.budget = 60 * train_config.max_minutes
        self.steps = train_config.epochs * steps_per_epoch
        self.epoch, self.step = 0, 0
        self.history, self.best, self.best_epoch = [], -1.0, 0
        self.started, self.pace = time.monotonic(), Pace()

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def progress(self) -> float:
        """Share of the run that is over, by steps or by time, whichever is more."""
        by_time = self.seconds() / self.budget if self.train_config.max_minutes else 0.0
        return max(self.step / self.steps, by_time)

    def is_over(self) -> bool:
        patience = self.train_config.patience
        tired = patience and self.epoch - self.best_epoch >= patience
        return bool(self.progress() >= 1 or tired)

    def text(self, steps_per_s: float | None, batch_size: int) -> str:
        """How far it is, for a live line.

        Args:
            steps_per_s: Of `pace`: None, and not told, while that is not known.
        """
        done = self.progress()
        parts = [
            f"epoch {self.epoch + 1} of {self.train_config.epochs}",
            f"{100 * done:.0f} % done",
        ]
        if self.what:
            parts.insert(0, self.what)
        if steps_per_s:
            left = (self.steps - self.step) / steps_per_s
            if self.train_config.max_minutes:
                left = min(left, max(0, self.budget - self.seconds()))
            speed = f"{batch_size * steps_per_s:,.0f} images/s"
            parts += [speed, f"{duration(left)} left"]
        if self.history:
            row = self.history[-1]
            parts.append(
                f"loss {row['train_loss']:.2f}, "
                f"{100 * row['val_accuracy']:.1f} % of validation right"
            )
        return ", ".join(parts)

    def note(self, row: dict) -> bool:
        """Add an epoch; say whether it is the best so far (the later of equals)."""
        self.history.append(row)
        if row["val_accuracy"] < self.best:
            return False
        if row["val_accuracy"] > self.best:  # an equal one is no reason for patience
            self.best, self.best_epoch = row["val_accuracy"], self.epoch
        return True

    def save(self, path: Path, classifier, averaged, optimizer) -> None:
        state = {
            "train_config": asdict(self.train_config),
            "counters": [self.epoch, self.step, self.best, self.best_epoch],
            "seconds": self.seconds(),
            "budget": self.budget,
            "history": self.history,
            "classifier": classifier.state_dict(),
            "averaged": averaged.state_dict(),
            "optimizer": optimizer.state_dict(),
        }
        save(path, state)

    def load(self, path: Path, classifier, averaged, optimizer, device) -> None:
        """Take up what `save` wrote.

        Raises:
            InputError: As `read_last`, or it belongs to another model.
        """
        state = read_last(path, self.train_config, device)
        try:
            classifier.load_state_dict(state["classifier"])
            averaged.load_state_dict(state["averaged"])
            optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError):
            raise InputError(
                f"{path} holds another model or other classes; resume with the same "
                "--model and dataset"
            ) from None
        self.epoch, self.step, self.best, self.best_epoch = state["counters"]
        self.history = state["history"]
        self.started = time.monotonic() - state["seconds"]
        self.budget = state["budget"]


def read_last(path: Path, train_config: TrainConfig, device="cpu") -> dict:
    """Read what an interrupted run left in LAST_FILE.

    Raises:
        InputError: It or BEST_FILE cannot be read, or it belongs to other options.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        trained = state["train_config"]
        open(path.parent / BEST_FILE, "rb").close()
    except Exception as error:
        raise InputError(
            f"{path} cannot be resumed ({' '.join(str(error).split())[:80]}); give "
            "the folder of an interrupted training"
        ) from None
    for key, value in asdict(train_config).items():
        if trained.get(key) != value:
            raise InputError(
                f"{path} was trained with {key} {trained.get(key)}, not {value}; "
                "resume with the same options"
            )
    return state


def save(path: Path, state: dict) -> None:
    """Write a checkpoint so that a killed process leaves the old or the new one."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def predict(classifier: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    """Probabilities ``(N, classes)`` float32 of uint8 ``images``, in float32 precision:
    the precision in which the exported graph answers."""
    device = next(classifier.parameters()).device
    classifier.eval()
    with torch.inference_mode():
        parts = []
        for batch in plain_batches(images):
            answered = classifier(batch.to(device))
            # a hand model has further outputs
            first = answered[0] if isinstance(answered, tuple) else answered
            parts.append(first.cpu())
    return torch.cat(parts).numpy()


def score(classifier: Classifier, images: np.ndarray, labels: np.ndarray) -> dict:
    """Loss, accuracy and F1 scores of a split, keys prefixed ``val_``."""
    probabilities = predict(classifier, images)
    predicted = probabilities.argmax(1)
    truth = np.clip(probabilities[np.arange(len(labels)), labels], 1e-9, None)
    scores = {
        "val_loss": float(-np.log(truth).mean()),
        "val_accuracy": float((predicted == labels).mean()),
    }
    for kind in ("macro", "weighted"):
        f1 = f1_score(labels, predicted, average=kind, zero_division=0)
        scores[f"val_{kind}_f1"] = float(f1)
    return scores
