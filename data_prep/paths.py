"""Where things lie: the checkout, and the one folder that commands write to."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What every task needs, for the agents that run one.
REQUIREMENTS = str(ROOT / "requirements.txt")


def data_home() -> Path:
    """Folder of everything made at run time: ``$ASL_HOME``, else ``.asl`` in ROOT.

    Holds ``clearml/`` (embedded server), ``runs/`` (a folder per task: reports,
    TensorBoard, checkpoints), ``models/`` (the Triton model repository), ``raw/``
    (drawn sample data) and ``triton/`` (logs and state of the embedded server).
    """
    home = os.environ.get("ASL_HOME")
    return Path(home).expanduser().resolve() if home else ROOT / ".asl"
