"""How agents get the code: they clone it with git from the remote that a task names.

A task made on this machine records the remote's address, the commit, and the
uncommitted changes of files that git knows. All settings for git are passed in
its environment: the user's checkout and configuration stay as they are.
"""

import json
import os
import subprocess
from pathlib import Path

from data_prep.errors import InputError
from data_prep.paths import ROOT
from pipelines.clearml_server.home import home_folder
from pipelines.tracking.connection import is_configured

ADDRESS = ROOT.as_uri()  # git clones from it like from any other address


def remote() -> str:
    """Address of the remote as ClearML would record it, "" if there is none.

    Raises:
        InputError: This is no git checkout.
    """
    if _git("rev-parse", "--verify", "HEAD") == "":
        raise InputError(
            f"{ROOT} is no git checkout with a commit, and agents get the code by git; "
            "use a clone of the repository"
        )
    found = _git("ls-remote", "--get-url")
    return "" if found == "origin" else found  # what git says where there is none


def lend_remote(environment: dict[str, str]) -> dict[str, str]:
    """Let git under ``environment`` see this checkout as its own remote if it has none.

    `clearml-task` and steps of pipelines need a remote to name.
    """
    if remote():
        return dict(environment)
    count = int(environment.get("GIT_CONFIG_COUNT") or 0)
    return environment | {
        f"GIT_CONFIG_KEY_{count}": "remote.origin.url",
        f"GIT_CONFIG_VALUE_{count}": ADDRESS,
        "GIT_CONFIG_COUNT": str(count + 1),
    }


def name_remote() -> None:
    """Make sure that tasks name a git remote, from which agents get the code.

    Raises:
        InputError: There is none that agents of another machine could reach.
    """
    if not remote() and is_configured(home_folder()):
        raise InputError(
            f"{ROOT} has no git remote, from which agents get the code; add one with "
            "git remote add origin ADDRESS, and push"
        )
    os.environ |= lend_remote(dict(os.environ))


def write_settings(path: Path) -> None:
    """Write a global git configuration for agents: the user's, with one addition.

    Agents clone from this checkout in place of its remote: so they find commits that
    are not pushed, and need no network. Besides, clearml-agent writes to its global
    configuration, which must not be the user's.
    """
    lines = [
        "[include]",
        "path = ~/.config/git/config",
        "path = ~/.gitconfig",
        f"[url {json.dumps(ADDRESS)}]",
        f"insteadOf = {json.dumps(remote() or ADDRESS)}",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True
        )
    except FileNotFoundError:
        raise InputError("git is not installed; agents get the code by it") from None
    return done.stdout.strip() if done.returncode == 0 else ""
