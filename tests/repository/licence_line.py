# SPDX-License-Identifier: Apache-2.0
"""Every source says its licence in the first line (the second where the first names an interpreter).

    licence_line.py ROOT
"""
import tree

SUFFIXES = {".h", ".cpp", ".cmake", ".in", ".sh", ".sbatch", ".py"}
NAMES = {"CMakeLists.txt"}
LINE = "SPDX-License-Identifier: Apache-2.0"


def check(root):
    sources = [path for path in tree.files(root) if path.suffix in SUFFIXES or path.name in NAMES]
    return [f"{path}:1: the line '{LINE}' is missing" for path in sources
            if not any(text.endswith(LINE) for _, text in tree.lines(root, path)[:2])]


if __name__ == "__main__":
    tree.main(check)
