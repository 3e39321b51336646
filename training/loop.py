"""The training loop: AdamW, warm-up and cosine, averaged weights, best epoch kept."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import nn
from tqdm import tqdm

from data_prep.errors import InputError
from training.loader import TrainBatches, plain_batches
from training.network import Classifier, autocast_for


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: Passes over the training split.
        max_minutes: Wall-clock budget of the loop; the schedule shrinks to fit it.
            0 is no limit.
        batch_size: Images a step.
        lr: Peak learning rate of AdamW.
        weight_decay: Not applied to biases and batch norm.
        warmup: Share of the run over which the rate rises from 0.
        label_smoothing: Share of the target spread over all classes.
        ema: Decay of the averaged weights, a step.
        seed: Of initial weights, order and augmentation.
    """

    epochs: int = 20
    max_minutes: float = 0.0
    batch_size: int = 64
    lr: float = 3e-3
    weight_decay: float = 0.05
    warmup: float = 0.04
    label_smoothing: float = 0.1
    ema: float = 0.998
    seed: int = 0


def learning_rate(progress: float, recipe: Recipe) -> float:
    """Rate at ``progress`` (0 to 1): linear warm-up, then half a cosine to zero."""
    if progress < recipe.warmup:
        return recipe.lr * progress / recipe.warmup
    rest = (progress - recipe.warmup) / (1 - recipe.warmup)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, rest)))


def fit(
    classifier: Classifier,
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
    recipe: Recipe,
    checkpoint: Path,
    log: Callable[[str, float, int], None],
) -> list[dict]:
    """Train in place; on return ``classifier`` holds the weights of the best epoch.

    Args:
        classifier: On the device to train on.
        train: ``(N, S, S, 3)`` uint8 images and ``(N,)`` int64 labels.
        val: The same; judges each epoch, by the averaged weights' accuracy.
        recipe: How to train.
        checkpoint: File that always holds the best epoch's ``state_dict``.
        log: Called with (tag such as "loss/train", value, epoch).

    Returns:
        One dict an epoch: epoch, train_loss, val_loss, val_accuracy, val_macro_f1,
        learning_rate, images_per_s, seconds.

    Raises:
        InputError: The loss is no longer a finite number.
    """
    device = next(classifier.parameters()).device
    classifier.to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(classifier).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(_decay_groups(classifier, recipe), lr=recipe.lr)
    autocast = autocast_for(classifier, device)
    batches = TrainBatches(*train, recipe.batch_size, recipe.seed)
    total, budget = recipe.epochs * len(batches), recipe.max_minutes * 60

    history, best, step, started = [], -1.0, 0, time.monotonic()
    bar = tqdm(total=total * batches.batch_size, desc="train", unit="img", disable=None)
    for epoch in range(recipe.epochs):
        classifier.train()
        loss_sum, epoch_started = torch.zeros((), device=device), time.monotonic()
        first_step = step
        for images, labels in batches.epoch(epoch):
            elapsed = time.monotonic() - started
            progress = max(step / total, elapsed / budget if budget else 0)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(progress, recipe)
            with autocast:
                logits = classifier.logits(images.to(device))
                loss = nn.functional.cross_entropy(
                    logits.float(),
                    labels.to(device),
                    label_smoothing=recipe.label_smoothing,
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
            _average(averaged, classifier, min(recipe.ema, (1 + step) / (10 + step)))
            loss_sum += loss.detach()
            bar.update(len(labels))
            if progress >= 1:
                break
        steps = step - first_step
        train_loss = loss_sum.item() / steps
        if not math.isfinite(train_loss):
            raise InputError(
                f"the training loss became {train_loss} in epoch {epoch + 1}; "
                f"lower --lr (it was {recipe.lr})"
            )
        seconds = time.monotonic() - epoch_started
        scores = score(averaged, *val)
        row = {
            "epoch": epoch,
            "train_loss": train_loss,
            **scores,
            "learning_rate": optimizer.param_groups[0]["lr"],
            "images_per_s": steps * batches.batch_size / seconds,
            "seconds": time.monotonic() - started,
        }
        history.append(row)
        for tag, key in TAGS.items():
            log(tag, row[key], epoch)
        bar.set_postfix(loss=f"{train_loss:.3f}", val=f"{row['val_accuracy']:.3f}")
        if row["val_accuracy"] >= best:
            best = row["val_accuracy"]
            partial = checkpoint.with_suffix(".partial")
            torch.save(averaged.state_dict(), partial)
            partial.replace(checkpoint)
        if budget and time.monotonic() - started >= budget:
            break
    bar.close()
    classifier.load_state_dict(torch.load(checkpoint, weights_only=True))
    return history


# TensorBoard tag -> key of a history row; ClearML shows "title/series".
TAGS = {
    "loss/train": "train_loss",
    "loss/val": "val_loss",
    "accuracy/val": "val_accuracy",
    "macro_f1/val": "val_macro_f1",
    "learning_rate/adamw": "learning_rate",
    "speed/images_per_s": "images_per_s",
}


def predict(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """Probabilities ``(N, classes)`` float32 of uint8 ``images``, in float32 precision:
    the precision in which the exported graph answers."""
    device = next(classifier.parameters()).device
    classifier.eval()
    with torch.inference_mode():
        parts = [classifier(b.to(device)).cpu() for b in plain_batches(images)]
    return torch.cat(parts).numpy()


def score(classifier: Classifier, images: np.ndarray, labels: np.ndarray) -> dict:
    """Loss, accuracy and macro F1 of a split, keys prefixed ``val_``."""
    probabilities = predict(classifier, images)
    predicted = probabilities.argmax(1)
    truth = np.clip(probabilities[np.arange(len(labels)), labels], 1e-9, None)
    return {
        "val_loss": float(-np.log(truth).mean()),
        "val_accuracy": float((predicted == labels).mean()),
        "val_macro_f1": float(
            f1_score(labels, predicted, average="macro", zero_division=0)
        ),
    }


def _decay_groups(model: nn.Module, recipe: Recipe) -> list[dict]:
    """Weight decay for matrices and kernels, none for biases and batch norm."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {
            "params": [p for p in parameters if p.ndim > 1],
            "weight_decay": recipe.weight_decay,
        },
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged weights, and batch norm's statistics, towards the current."""
    ours, theirs = [], []
    for a, b in zip(averaged.state_dict().values(), model.state_dict().values()):
        if a.is_floating_point():
            ours.append(a)
            theirs.append(b)
        else:
            a.copy_(b)
    torch._foreach_lerp_(ours, theirs, 1 - decay)
