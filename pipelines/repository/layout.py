"""Where things lie in a model repository, and what they are called there.

`versions` shows the whole, `model_config` says what the parts are for.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data_prep.model_name import DEFAULT

CLASSIFIER = "classifier"
DECODE = "decode"
FUSED = "fused"
PARTS = (FUSED, DECODE, CLASSIFIER)  # kinds of them

DEPLOYMENT_FILE = "deployment.json"
CURRENT_FILE = "current.json"
NUMBER_FILE = ".last-version"


class Part(NamedTuple):
    """What the name of a part says.

    Attributes:
        name: Of the model.
        kind: One of PARTS.
        version: Of the model.
    """

    name: str
    kind: str
    version: int


def part_name(kind: str, version: int, name: str = DEFAULT) -> str:
    return f"{name}_{kind}_{version}"


def as_part(name: str) -> Part | None:
    """Read the name of one of Triton's models; None if it is not that of a part."""
    found = re.fullmatch(rf"(.+)_({'|'.join(PARTS)})_(\d+)", name)
    return Part(found[1], found[2], int(found[3])) if found else None


def served_names(name: str = DEFAULT) -> tuple[str, str]:
    """What clients call of a model, in the order in which they are switched."""
    return f"{name}_{CLASSIFIER}", name


def known_names(repository: Path) -> list[str]:
    """Names of the models that have files in a repository, deployed or not."""
    repository = Path(repository)
    found = set(deployed_names(repository))
    found |= {record.parents[1].name for record in deployment_files(repository)}
    parts = (as_part(folder.name) for folder in repository.iterdir())
    return sorted(found | {part.name for part in parts if part})


def deployed_names(repository: Path) -> list[str]:
    """Names of the models that a repository has a current version of."""
    stem, suffix = CURRENT_FILE.split(".")
    found = (path.name for path in Path(repository).glob(f"{stem}.*{suffix}"))
    return sorted(
        DEFAULT if file == CURRENT_FILE else file.split(".")[1] for file in found
    )


def state_file(repository: Path, file: str, name: str) -> Path:
    """The place of CURRENT_FILE or NUMBER_FILE of a model.

    Those of `DEFAULT` lie where they lay before models had names.
    """
    if name == DEFAULT:
        return Path(repository) / file
    path = Path(repository) / file
    return path.with_name(f"{path.stem}.{name}{path.suffix}")


def deployment_files(repository: Path, name: str = "*") -> Iterator[Path]:
    return Path(repository).glob(f"{name}/[0-9]*/{DEPLOYMENT_FILE}")


def part_folders(
    repository: Path, version: int, name: str = DEFAULT
) -> dict[str, Path]:
    """Find the folders of a version's parts, by kind."""
    folders = {
        kind: Path(repository) / part_name(kind, version, name) for kind in PARTS
    }
    return {kind: folder for kind, folder in folders.items() if folder.is_dir()}


def numbers(repository: Path, name: str = DEFAULT) -> list[int]:
    """List the version numbers in use, complete or not, in ascending order."""
    parts = (as_part(folder.name) for folder in Path(repository).glob(f"{name}_*"))
    found = {part.version for part in parts if part and part.name == name}
    records = (record.parent.name for record in deployment_files(repository, name))
    return sorted(found | {int(number) for number in records if number.isdecimal()})
