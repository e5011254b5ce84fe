# SPDX-License-Identifier: Apache-2.0
"""cmake/EmbedPage.cmake writes the very bytes of the pages, in literals that every compiler takes.

embed_page_test.py CMAKE
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from fake_run import PAGES, ROOT, page

LITERAL = rb'\n    R"tutti_page\((.*?)\)tutti_page"'
CONSTANT = rb"\nconst std::string_view (\w+) =((?:" + LITERAL.replace(b"(.*?)", b".*?") + rb")+);\n"
LITERAL_BYTES_MAX = 16_000


def embed(cmake, folder, output, pages):
    return subprocess.run(
        [cmake, f"-DFOLDER={folder}", f"-DOUTPUT={output}", f"-DPAGES={pages}", "-P", ROOT / "cmake/EmbedPage.cmake"],
        capture_output=True,
        text=True,
    )


def main(cmake):
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "pages.cpp")
        done = embed(cmake, PAGES, output, "kPage=page.html;kReport=report.html")
        assert done.returncode == 0, done.stderr
        constants = dict(re.findall(CONSTANT, output.read_bytes(), re.DOTALL))
        assert set(constants) == {b"kPage", b"kReport"}
        for name, file in ((b"kPage", "page.html"), (b"kReport", "report.html")):
            pieces = re.findall(LITERAL, constants[name], re.DOTALL)
            assert b"".join(pieces) == page(file).encode(), file
            assert max(map(len, pieces)) < LITERAL_BYTES_MAX
        assert b"/*{runs}*/" in output.read_bytes(), "what the report is filled with comes later"

        Path(folder, "bad.html").write_text("<style>/*{nothing.css}*/</style>\n")
        done = embed(cmake, folder, output, "kBad=bad.html")
        assert done.returncode != 0 and "/*{nothing.css}*/ names no file" in " ".join(done.stderr.split()), done.stderr


main(*sys.argv[1:])
