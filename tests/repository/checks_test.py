# SPDX-License-Identifier: Apache-2.0
"""Each check of the repository reports what it is there for, on a made-up tree, and lets a sound one pass."""
import pathlib
import tempfile
import unittest

import include_order
import licence_line
import plain_names
import readme_program
import torch_budget

LICENCE = "// SPDX-License-Identifier: Apache-2.0\n"


class MadeUpTree(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file


class IncludeOrder(MadeUpTree):
    def complaints_about(self, path, include):
        self.write(path, f"{LICENCE}#include {include}\n")
        return include_order.check(self.root)

    def test_lets_includes_to_the_left_pass(self):
        for path, include in [("src/common/a.cpp", '"tutti/error.h"'), ("src/ps/a.cpp", '"common/a.h"'),
                              ("src/worker/a.cpp", "<torch/torch.h>"), ("src/worker/b.cpp", '"tutti/session.h"'),
                              ("launch/a.cpp", '"common/a.h"'), ("examples/a/a.cpp", "<tutti/session.h>")]:
            self.assertEqual(self.complaints_about(path, include), [], path)

    def test_reports_an_include_to_the_right(self):
        for path, include in [("src/common/a.cpp", '"ps/a.h"'), ("src/common/net/a.cpp", '"tutti/session.h"'),
                              ("src/ps/a.h", '"worker/a.h"'), ("src/worker/a.cpp", '"launch/a.h"')]:
            with self.subTest(path):
                self.assertIn(f"{path}:2", "\n".join(self.complaints_about(path, include)))

    def test_reports_libtorch_below_the_worker(self):
        for include in ["<torch/types.h>", "<ATen/core/Tensor.h>", "<c10/core/Device.h>"]:
            with self.subTest(include):
                self.assertIn("LibTorch", self.complaints_about("src/ps/a.h", include)[0])

    def test_reports_private_headers_in_examples(self):
        self.assertIn("public", self.complaints_about("examples/a/a.cpp", '"common/log.h"')[0])

    def test_reports_relative_paths(self):
        self.assertIn("relative", self.complaints_about("src/common/net/a.cpp", '"../log.h"')[0])


class LicenceLine(MadeUpTree):
    def test_reports_a_source_without_it(self):
        self.write("src/common/good.h", LICENCE)
        self.write("tests/good.sh", "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n")
        self.assertEqual(licence_line.check(self.root), [])
        self.write("src/common/bad.h", "#pragma once\n\n" + LICENCE)
        self.assertIn("bad.h:1", licence_line.check(self.root)[0])


class PlainNames(MadeUpTree):
    def test_reports_package_hosts_and_unlisted_links(self):
        self.write("good.md", "See https://arxiv.org/abs/1802.05799.\n")
        self.assertEqual(plain_names.check(self.root), [])
        self.write("launch/bad.sh", "pip install --index-url files.python" + "hosted.org/simple\n")
        self.write("bad.md", "[here](https" + "://example.org/x)\n")
        self.assertEqual(len(plain_names.check(self.root)), 2)

    def test_reports_a_developers_folder(self):
        self.write("docs/a.md", "cd /ho" + "me/somebody/tutti\n")
        self.assertIn("docs/a.md:1", plain_names.check(self.root)[0])


class ReadmeProgram(MadeUpTree):
    def complaints(self, shown, compiled):
        readme = self.write("README.md", f"# tutti\n<!-- loop -->\n```cpp\n{shown}```\nand so on\n")
        example = self.write("loop.cpp", f"#include <x>\n// [readme]\n{compiled}// [readme]\n")
        return readme_program.check(readme, example)

    def test_lets_the_same_text_pass(self):
        self.assertEqual(self.complaints("int main() {\n}\n", "int main() {\n}\n"), [])

    def test_reports_a_difference(self):
        self.assertIn("'int main()' against 'int main() {'", self.complaints("int main()\n{\n}\n", "int main() {\n}\n")[0])
        self.assertTrue(self.complaints("int main() {\n", "int main() {\n}\n"))

    def test_reports_a_missing_region(self):
        readme = self.write("README.md", "")
        self.assertIn("no region", readme_program.check(readme, self.write("loop.cpp", ""))[0])
        self.assertIn("0 programs", readme_program.check(readme, self.write("loop.cpp", "// [readme]\n// [readme]\n"))[0])


class TorchBudget(unittest.TestCase):
    def test_counts_each_source_that_depends_on_libtorch(self):
        dependencies = ("src/a.cpp.o: #deps 2, deps mtime 1 (VALID)\n    ../src/a.cpp\n    /t/include/torch/types.h\n\n"
                        "src/b.cpp.o: #deps 1, deps mtime 1 (VALID)\n    ../src/b.cpp\n\n"
                        "examples/e.cpp.o: #deps 2, deps mtime 1 (VALID)\n    ../src/e.cpp\n    /t/include/torch/types.h\n\n"
                        "src/unity_0.cxx.o: #deps 4, deps mtime 1 (VALID)\n    src/unity_0.cxx\n    ../src/c.cpp\n"
                        "    ../src/d.cpp\n    /t/include/c10/Device.h\n")
        self.assertEqual(torch_budget.sources_with_torch(dependencies), ["src/a.cpp", "src/c.cpp", "src/d.cpp"])


if __name__ == "__main__":
    unittest.main()
