# SPDX-License-Identifier: Apache-2.0
"""Reads what write_sample.cpp wrote, with the package `safetensors`, and compares every element.

    read_sample.py FOLDER
"""
import json
import sys
from pathlib import Path

import numpy
from safetensors import deserialize
from safetensors.numpy import load_file

DTYPES = {"F32": numpy.float32, "F64": numpy.float64, "F16": numpy.float16, "I64": numpy.int64, "I32": numpy.int32,
          "I16": numpy.int16, "I8": numpy.int8, "U8": numpy.uint8, "BOOL": numpy.bool_}
VALUES = numpy.arange(6).reshape(2, 3) - 3


def expected(name):
    if name == "BOOL":
        return VALUES >= 0
    return VALUES.astype(numpy.int8).view(numpy.uint8) if name == "U8" else VALUES.astype(DTYPES[name])


def widened(bfloat16):
    """NumPy has no bfloat16: it is the upper half of a float32."""
    return (numpy.frombuffer(bfloat16, dtype="<u2").astype(numpy.uint32) << 16).view(numpy.float32)


def main(folder):
    checkpoint = Path(folder) / "step-000000000042"
    tensors = load_file(checkpoint / "tensors.safetensors")
    assert set(tensors) == {f"tensor/{name}" for name in DTYPES} | {"scalar", "empty"}, sorted(tensors)
    for name in DTYPES:
        tensor = tensors[f"tensor/{name}"]
        assert tensor.dtype == DTYPES[name] and tensor.shape == (2, 3), (name, tensor.dtype, tensor.shape)
        assert (tensor == expected(name)).all(), (name, tensor)
    assert tensors["scalar"].shape == () and tensors["scalar"] == -3
    assert tensors["empty"].shape == (0, 4)

    manifest = json.loads((checkpoint / "manifest.json").read_text())
    assert manifest["step"] == 42 and manifest["metadata"] == {"note": "of every dtype"}
    assert manifest["files"][0]["bytes"] == (checkpoint / "tensors.safetensors").stat().st_size

    [(name, narrow)] = deserialize((Path(folder) / "step-000000000043" / "tensors.safetensors").read_bytes())
    assert name == "tensor/BF16" and narrow["dtype"] == "BF16" and list(narrow["shape"]) == [2, 3]
    assert (widened(bytes(narrow["data"])) == VALUES.ravel()).all()


main(sys.argv[1])
