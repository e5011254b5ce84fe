# SPDX-License-Identifier: Apache-2.0
"""A source that includes LibTorch, by whatever way, costs up to half a minute and 2 GB to compile: at most 17 of the library's do.

    torch_budget.py BUILD_FOLDER TORCH_ROOT
"""
import re
import subprocess

import tree

SOURCES_MAX = 17
OBJECT = re.compile(r"^(\S+\.o): #deps ", re.MULTILINE)


def sources_with_torch(dependencies, torch_root):
    """The objects of `ninja -t deps` that depend on LibTorch's headers, or on a precompiled one of them."""
    blocks = OBJECT.split(dependencies)[1:]
    return sorted(name for name, block in zip(blocks[::2], blocks[1::2])
                  if name.startswith("src/") and name.endswith(".cpp.o")
                  and (f"{torch_root}/include/" in block or "cmake_pch.hxx" in block))


def check(build_folder, torch_root):
    ninja = subprocess.run(["ninja", "-C", build_folder, "-t", "deps"], capture_output=True, text=True, check=True)
    found = sources_with_torch(ninja.stdout, torch_root)
    if not found:
        return [f"{build_folder}: no source includes {torch_root}; was the worker built?"]
    if len(found) <= SOURCES_MAX:
        return []
    return [f"{len(found)} sources in src include LibTorch, at most {SOURCES_MAX} may:"] + found


if __name__ == "__main__":
    tree.main(check)
