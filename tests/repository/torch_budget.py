# SPDX-License-Identifier: Apache-2.0
"""A source that includes LibTorch, by whatever way, costs up to half a minute and 2 GB to compile: at most 18 of the library's do.

    torch_budget.py BUILD_FOLDER
"""
import re
import subprocess

import tree

SOURCES_MAX = 18
OBJECT = re.compile(r"^(\S+\.o): #deps ", re.MULTILINE)
LIBTORCH = re.compile(r"/include/(torch|ATen|c10)/")
SOURCE = re.compile(r"^ +\S*?(src/\S+\.cpp)$", re.MULTILINE)


def sources_with_torch(dependencies):
    """The sources, alone or together with others, of the objects of `ninja -t deps` that depend on LibTorch's headers."""
    blocks = OBJECT.split(dependencies)[1:]
    objects = [block for name, block in zip(blocks[::2], blocks[1::2])
               if name.startswith("src/") and LIBTORCH.search(block)]
    return sorted({source for block in objects for source in SOURCE.findall(block)})


def check(build_folder):
    ninja = subprocess.run(["ninja", "-C", build_folder, "-t", "deps"], capture_output=True, text=True, check=True)
    found = sources_with_torch(ninja.stdout)
    if not found:
        return [f"{build_folder}: no source includes LibTorch; was the worker built?"]
    if len(found) <= SOURCES_MAX:
        return []
    return [f"{len(found)} sources in src include LibTorch, at most {SOURCES_MAX} may:"] + found


if __name__ == "__main__":
    tree.main(check)
