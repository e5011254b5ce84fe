# SPDX-License-Identifier: Apache-2.0
"""The files of the repository, and how a check of them reports."""
import os
import pathlib
import sys

# What .gitignore leaves out, and git's own folder.
NOT_OURS = {".git", "build", ".deps", "data", ".venv", "runs", ".cache", "__pycache__"}


def files(root, suffixes=None, under=()):
    """Paths relative to `root`, in order; only those below the folders `under` and with one of `suffixes`, where given."""
    found = []
    for top in [pathlib.Path(root, folder) for folder in under] or [pathlib.Path(root)]:
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if name not in NOT_OURS]
            found += [pathlib.Path(folder, name).relative_to(root) for name in names]
    return sorted(path for path in found if suffixes is None or path.suffix in suffixes)


def lines(root, path):
    """(number, text) of each line; nothing for a file that is not text."""
    try:
        return list(enumerate(pathlib.Path(root, path).read_text(encoding="utf-8").splitlines(), start=1))
    except UnicodeDecodeError:
        return []


def main(check):
    """Runs `check` with the arguments of the command line; every line it returns is a complaint."""
    complaints = check(*map(pathlib.Path, sys.argv[1:]))
    for complaint in complaints:
        print(complaint)
    sys.exit(1 if complaints else 0)
