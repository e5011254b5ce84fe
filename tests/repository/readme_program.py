# SPDX-License-Identifier: Apache-2.0
"""README's program is the very text between the two lines '// [readme]' of an example, which is compiled and run.

    readme_program.py README.md EXAMPLE.cpp
"""
import re

import tree

FENCE = re.compile(r"<!-- (\w+) -->\n```cpp\n(.*?)```", re.DOTALL)
REGION = re.compile(r"^// \[readme\]\n(.*?)^// \[readme\]$", re.DOTALL | re.MULTILINE)


def check(readme, example):
    region = REGION.search(example.read_text())
    if not region:
        return [f"{example}:1: has no region between two lines '// [readme]'"]
    program = region[1].strip()
    shown = [text.strip() for name, text in FENCE.findall(readme.read_text()) if name == example.stem]
    if len(shown) != 1:
        return [f"{readme}:1: has {len(shown)} programs marked '<!-- {example.stem} -->', expected 1"]
    if shown[0] != program:
        first = next(pair for pair in zip((shown[0] + "\n").split("\n"), (program + "\n").split("\n")) if pair[0] != pair[1])
        return [f"{readme}:1: differs from {example}: '{first[0]}' against '{first[1]}'"]
    return []


if __name__ == "__main__":
    tree.main(check)
