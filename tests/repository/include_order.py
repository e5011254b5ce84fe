# SPDX-License-Identifier: Apache-2.0
"""Modules form one line, and a file includes only its own module and those to the left of it. common and ps never see LibTorch, and
examples see public headers only.

    include_order.py ROOT
"""
import re

import tree

ORDER = ["common", "ps", "worker", "launch", "examples"]
FOLDERS = {"src/common": "common", "src/ps": "ps", "src/worker": "worker", "include/tutti": "worker", "launch": "launch",
           "examples": "examples"}
# A public header belongs to the worker, but for those that the lower modules share with the user.
PUBLIC_COMMON = {"error.h"}
WITHOUT_TORCH = {"common", "ps"}

INCLUDE = re.compile(r'\s*#\s*include\s*[<"]([^">]+)[">]')
TORCH = re.compile(r"(torch|ATen|c10|caffe2)/")


def module_of_file(path):
    if path.parent.as_posix() == "include/tutti" and path.name in PUBLIC_COMMON:
        return "common"
    return next((module for folder, module in FOLDERS.items() if path.as_posix().startswith(folder + "/")), None)


def module_of_include(name):
    """None for what is not ours."""
    folder, _, rest = name.partition("/")
    if folder == "tutti":
        return "common" if rest in PUBLIC_COMMON else "worker"
    return folder if folder in ORDER else None


def complaint_about(module, name):
    if name.startswith("."):
        return "is included by a relative path; name its module"
    if module in WITHOUT_TORCH and TORCH.match(name):
        return f"is LibTorch's, which {module} does not know"
    target = module_of_include(name)
    if target is None:
        return None
    if ORDER.index(target) > ORDER.index(module):
        return f"is of {target}, which stands above {module}"
    if module == "examples" and target != "examples" and not name.startswith("tutti/"):
        return "is not a public header; examples include <tutti/...> only"
    return None


def check(root):
    complaints = []
    for path in tree.files(root, {".h", ".cpp"}, under=("include", "src", "launch", "examples")):
        module = module_of_file(path)
        if module is None:
            complaints.append(f"{path}:1: belongs to no module")
            continue
        for number, text in tree.lines(root, path):
            include = INCLUDE.match(text)
            complaint = include and complaint_about(module, include[1])
            if complaint:
                complaints.append(f"{path}:{number}: {include[1]} {complaint}")
    return complaints


if __name__ == "__main__":
    tree.main(check)
