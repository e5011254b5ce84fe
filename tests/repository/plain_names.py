# SPDX-License-Identifier: Apache-2.0
"""Files name no package host and no place on one developer's machine; what they link to is on a short list.

    plain_names.py ROOT
"""
import re

import tree

# www.w3.org is in the name of SVG's elements; nothing is fetched from there.
LINKED_HOSTS = {"www.apache.org", "www.w3.org", "arxiv.org", "doi.org", "localhost", "127.0.0.1"}
# Spelled so that this file passes its own check.
UNWANTED = re.compile("|".join([
    r"\bpypi" r"\.org", r"pythonhosted" r"\.", r"\bdeb\." r"debian\.org", r"\bconda" r"\.anaconda", r"download\." r"pytorch\.org",
    r"(?<![\w.])/work" r"/", r"(?<![\w.])/root" r"/", r"(?<![\w.])/home" r"/\w",
]))
LINK = re.compile(r"\bhttps?://([^/\s:\"'<>()\[\]$]+)")


def check(root):
    complaints = []
    for path in tree.files(root):
        for number, text in tree.lines(root, path):
            complaints += [f"{path}:{number}: names '{match[0]}'" for match in UNWANTED.finditer(text)]
            complaints += [f"{path}:{number}: links to {host}, which is not on the list in plain_names.py"
                           for host in LINK.findall(text) if host not in LINKED_HOSTS]
    return complaints


if __name__ == "__main__":
    tree.main(check)
