"""Raw data sets as people have them: which files are images, of which class and source.

A raw folder holds one folder a class, at any depth (Kaggle nests
``asl_alphabet_train/asl_alphabet_train/A``). The folder around class folders is a
*set*, and its path is the ``source`` of its images, so several signers can lie side by
side.
Zip and tar archives and Sign-MNIST tables count as folders. Nothing here writes
to raw data.
"""

import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Iterable, Sequence

from data_prep import containers
from data_prep.errors import InputError

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp"))
# photographs that are not read; a folder with nothing else is a class without images
OTHER_SUFFIXES = frozenset((".heic", ".heif", ".avif", ".gif", ".tif", ".tiff"))


@dataclass(frozen=True)
class RawImage:
    """One photograph of a raw set.

    Attributes:
        file, member: Where its bytes lie (see data_prep.containers).
        path: Its name in manifests and reports: the raw folder's name, then the path in
            it, with forward slashes; the same on every machine.
        label: Class name: the folder it lies in.
        source: The set it belongs to, such as ``asl_alphabet`` or ``mine/signer_2``.
    """

    file: str
    path: str
    label: str
    source: str
    member: None | str | tuple[int, int] = None

    def read(self) -> bytes:
        """The encoded image.

        Raises:
            InputError: The file has gone, may not be read, or is a damaged archive.
        """
        return containers.read(self.file, self.member)


@dataclass
class Listing:
    """What raw folders contain.

    Attributes:
        images: In the order of source, label and name (``A2`` before ``A10``).
        empty: Class folders without an image, as (source, label).
        strays: Paths of files that are no images of a class.
    """

    images: list[RawImage] = field(default_factory=list)
    empty: list[tuple[str, str]] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)


def find_images(
    folders: Sequence[str | Path],
    classes: Iterable[str] = (),
    limit: int = 0,
    names: Sequence[str] = (),
) -> Listing:
    """List the images of one or more raw folders, merged.

    Args:
        names: What to call the folders in paths and sources; empty: by their own names.
            "" drops a folder's name, as for the local copy of a ClearML Dataset, where
            the raw folders lie one level deeper.
        classes: Only these classes; empty: all there are.
        limit: At most so many images of a class, spread evenly over its order; 0: all.

    Raises:
        InputError: A folder is missing or holds no class folder with images, or a class
            asked for does not exist.
    """
    if limit < 0:
        raise InputError(f"--limit is {limit}; it must be 0 (no limit) or more")
    listing = Listing()
    named = dict(zip(names, map(Path, folders))) if names else name_folders(folders)
    for name, folder in named.items():
        _list_folder(name, folder, listing)
    listing.images.sort(key=lambda i: (i.source, i.label, natural(i.path)))
    wanted = set(classes)
    missing = wanted - {image.label for image in listing.images}
    if missing:
        raise InputError(
            f"class {min(missing)!r} has no images in {' '.join(map(str, folders))}; "
            f"there are {' '.join(sorted({i.label for i in listing.images}))}"
        )
    if wanted:
        listing.images = [i for i in listing.images if i.label in wanted]
        listing.empty = [e for e in listing.empty if e[1] in wanted]
    if limit:
        listing.images = _thin(listing.images, limit)
    return listing


def natural(name: str) -> list:
    """Sort key by which ``A2`` precedes ``A10``, independent of the locale."""
    parts = re.split(r"([0-9]+)", name)
    # the raw name last: "A01" and "A1" would tie
    return [int(p) if i % 2 else p for i, p in enumerate(parts)] + [name]


def name_folders(folders: Sequence[str | Path]) -> dict[str, Path]:
    """Give each raw folder the name by which every record knows its images.

    Raises:
        InputError: One is missing, or two cannot be told apart.
    """
    paths = []
    for folder in folders:
        path = Path(folder).expanduser().resolve()
        if not path.exists():
            raise InputError(f"{folder} does not exist; give a folder of raw images")
        if path not in paths:
            paths.append(path)
    names = [path.name for path in paths]
    if len(set(names)) < len(names):  # signer_1/asl and signer_2/asl
        names = [f"{path.parent.name}/{path.name}" for path in paths]
    if len(set(names)) < len(names):
        raise InputError(
            f"two of the raw folders are both called {max(names, key=names.count)}; "
            "rename one of them"
        )
    return dict(zip(names, paths))


def _list_folder(name: str, folder: Path, listing: Listing) -> None:
    found = containers.tree(folder, name)
    for here, files in found.items():
        for file in files:
            _check_name(here / file)
    images: dict[PurePosixPath, list[str]] = {}  # folder -> names of its images
    for here, files in found.items():
        names = {f: None for f, at in files.items() if at and _is_image_name(f)}
        listing.strays += [str(here / f) for f in files if f not in names]
        if names:
            images[here] = list(names)
    sets = _class_folders_by_set(images, PurePosixPath(name))
    if not sets:
        others = {_suffix(file) for files in found.values() for file in files}
        others &= OTHER_SUFFIXES
        raise InputError(
            f"{folder} holds no class folders with images "
            f"({' '.join(sorted(IMAGE_SUFFIXES))}); "
            + (
                f"there are {' '.join(sorted(others))} files: export them as JPEG"
                if others and not images
                else "expected such as A/1.jpg, B/1.jpg"
            )
        )
    sources = _sources(sets)
    for place, labels in sets.items():
        source = sources[place]
        for here in labels:
            _check_class(here)
            for image in images.pop(here):
                file, member = found[here][image]  # type: ignore[misc]  # has one
                path = str(here / image)
                listing.images.append(RawImage(file, path, here.name, source, member))
    inner = {here.parent for here in found}
    for here, files in found.items():
        if here not in inner and here.parent in sets and _is_empty_class(here, files):
            _check_class(here)
            listing.empty.append((sources[here.parent], here.name))
    # images beside class folders, or alone in a folder of another depth
    listing.strays += [str(here / f) for here, files in images.items() for f in files]


def _class_folders_by_set(
    images: dict[PurePosixPath, list[str]], top: PurePosixPath
) -> dict[PurePosixPath, list[PurePosixPath]]:
    """Group folders of images by their parent and keep what looks like a set.

    A lone folder of images (Kaggle's ``asl_alphabet_test/asl_alphabet_test``) is no
    class when there are real sets around it.
    """
    sets: dict[PurePosixPath, list[PurePosixPath]] = {}
    for here in images:
        if here != top and not here.name.startswith("."):
            sets.setdefault(here.parent, []).append(here)
    if any(len(labels) > 1 for labels in sets.values()):
        sets = {place: labels for place, labels in sets.items() if len(labels) > 1}
    return sets


def _sources(places: Iterable[PurePosixPath]) -> dict[PurePosixPath, str]:
    """Name sets by their paths, without the repetitions that Kaggle's archives have,
    unless two sets would then have the same name: one may be a copy of the other."""
    short = {}
    for place in places:
        parts = place.parts
        kept = [p for i, p in enumerate(parts) if i == 0 or p != parts[i - 1]]
        short[place] = "/".join(kept) or "raw"
    often = Counter(short.values())
    return {
        place: name if often[name] == 1 else str(place) for place, name in short.items()
    }


def _is_empty_class(here: PurePosixPath, files: Iterable[str]) -> bool:
    """Does a folder beside class folders look like a class, but without an image?"""
    visible = [file for file in files if not file.startswith(".")]
    suffixes = {_suffix(file) for file in visible}
    return not here.name.startswith(".") and suffixes <= OTHER_SUFFIXES


def _check_name(path: PurePosixPath) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"the name of {ascii(str(path))} is no UTF-8; rename it"
        ) from None


def _check_class(folder: PurePosixPath) -> None:
    """Refuse what would break the lines of a list of classes, or the page it is on.

    Raises:
        InputError: The folder's name has a control character or a line separator.
    """
    if any(unicodedata.category(x) in ("Cc", "Zl", "Zp") for x in folder.name):
        raise InputError(
            f"the class name {ascii(folder.name)} (in {ascii(str(folder.parent))}) has "
            "a line break or another control character in it; rename the folder"
        )


def _is_image_name(name: str) -> bool:
    hidden = name.startswith(".")  # macOS leaves ._A1.jpg beside A1.jpg
    return not hidden and _suffix(name) in IMAGE_SUFFIXES


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _thin(images: list[RawImage], limit: int) -> list[RawImage]:
    by_label: dict[str, list[RawImage]] = {}
    for image in images:
        by_label.setdefault(image.label, []).append(image)
    kept = set()
    for members in by_label.values():
        count = min(limit, len(members))
        kept.update(members[i * len(members) // count].path for i in range(count))
    return [image for image in images if image.path in kept]
