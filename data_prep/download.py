"""Fetch a public data set from Kaggle into a raw ClearML Dataset (ASL_raw, ...).

python -m data_prep.download asl-alphabet

Needs ``pip install kagglehub`` (not among the requirements). An interrupted download
goes on where it stopped; a finished one is not repeated. The checksums of all files
are kept beside them in ``<name>.sha256``, as ``sha256sum --check`` reads them.
"""

import argparse
import hashlib
import os
import sys
from pathlib import Path
from typing import NamedTuple

if not __package__:  # run as a script
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_prep.answer import add_json, answering  # noqa: E402
from data_prep.command_line import command_parser  # noqa: E402
from data_prep.errors import InputError, exit_2_on_input_error  # noqa: E402
from data_prep.model_name import DEFAULT  # noqa: E402
from data_prep.parallel import cpu_count, run_chunks  # noqa: E402
from data_prep.paths import data_home  # noqa: E402


class KaggleSet(NamedTuple):
    """A public data set.

    Attributes:
        address: On Kaggle.
        model: Name of the model that it is for; its raw Dataset is called after that.
    """

    address: str
    model: str


SETS = {
    "asl-alphabet": KaggleSet("grassknoted/asl-alphabet", DEFAULT),
    "sign-mnist": KaggleSet("datamunge/sign-language-mnist", "sign_mnist"),
    "flowers": KaggleSet("alxmamaev/flowers-recognition", "flowers"),
}


# In each process that makes checksums, set by _start.
_folder: Path = None  # type: ignore[assignment]


def download(name: str, target: Path) -> Path:
    """Download a set of SETS below ``target``, or find it there.

    Returns:
        The folder of its files.

    Raises:
        InputError: kagglehub is missing, Kaggle cannot be reached or refuses.
    """
    address = SETS[name].address
    # read when kagglehub is imported or asked; its progress bar stays
    os.environ["KAGGLEHUB_CACHE"] = str(target)
    os.environ.setdefault("KAGGLEHUB_VERBOSITY", "error")
    try:
        import kagglehub
        from kagglehub.exceptions import DataCorruptionError, KaggleApiHTTPError
        from requests.exceptions import RequestException
    except ImportError:
        raise InputError(
            "kagglehub is not installed: pip install kagglehub, or fetch "
            f"https://www.kaggle.com/datasets/{address} by hand and use --raw"
        ) from None
    try:
        return Path(kagglehub.dataset_download(address))
    except KaggleApiHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise InputError(
                f"Kaggle refuses {address} ({status}): create an API token at "
                "https://www.kaggle.com/settings and set KAGGLE_API_TOKEN to it"
            ) from None
        raise InputError(
            f"Kaggle answers {status} for {address}; try again later"
        ) from None
    except DataCorruptionError:
        raise InputError(
            f"{address} arrived damaged and was dropped; run the command again"
        ) from None
    except (RequestException, OSError) as error:
        raise InputError(
            f"{address} cannot be downloaded ({type(error).__name__}); check the "
            "network and the free space, and run the command again: it goes on where "
            "it stopped"
        ) from None


def write_checksums(folder: Path, file: Path) -> None:
    """Write the sha256 of every file of a folder, sorted by path."""
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    )
    lines = []
    for chunk in run_chunks(
        _checksums, names, cpu_count(), "checksums", _start, (folder,)
    ):
        lines += chunk
    partial = file.with_suffix(".partial")
    partial.write_text("".join(lines), encoding="utf-8")
    partial.rename(file)


def _start(folder: Path) -> None:
    global _folder
    _folder = folder


def _checksums(first: int, names: list[str]) -> list[str]:
    lines = []
    for name in names:
        with open(_folder / name, "rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    return lines


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "python -m data_prep.download",
        description=__doc__.splitlines()[0],
        example="flowers",
    )
    parser.add_argument("name", choices=SETS, help="which data set")
    parser.add_argument(
        "--output-uri",
        metavar="URI",
        help="where the Dataset's files go (s3://..., file://...); default: the "
        "ClearML file server",
    )
    add_json(parser, "the folder and the Dataset's id")
    return parser


@exit_2_on_input_error
def main(tracking) -> None:
    """Download, and register.

    Args:
        tracking: The package `pipelines.tracking`.
    """
    args = arguments().parse_args()
    with answering(arguments()) as answer:
        if args.output_uri:
            tracking.ensure_clearml()
            tracking.check_destination(args.output_uri)
        target = data_home() / "raw" / "kaggle"
        target.mkdir(parents=True, exist_ok=True)
        folder = download(args.name, target)
        write_checksums(folder, target / f"{args.name}.sha256")
        print(f"folder: {folder}")
        tracking.ensure_clearml()
        dataset_id = tracking.register_raw(
            {args.name: folder}, args.output_uri, SETS[args.name].model
        )
        print(dataset_id)
        answer.update(folder=str(folder), dataset_id=dataset_id)


if __name__ == "__main__":
    from pipelines import tracking

    main(tracking)
