#!/usr/bin/env python3
"""Write the binary seeds of the fuzzers, beside this file: corpus/efb, corpus/efck, corpus/safetensors."""
import json
import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def seed(kind, name, data):
    os.makedirs(f"{HERE}/{kind}", exist_ok=True)
    with open(f"{HERE}/{kind}/{name}", "wb") as file:
        file.write(data)


def u32(*values):
    return struct.pack(f"<{len(values)}I", *values)


def f32(*values):
    return struct.pack(f"<{len(values)}f", *values)


def tokens(*ids):
    return u32(len(ids), *ids) + bytes([1] * len(ids))


def text(value):
    return u32(len(value)) + value


def safetensors(header, data=b""):
    written = json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + data


TWO = tokens(5, 6, 7) + f32(1, -0.5) + tokens(9) + f32(0.25, 2)
seed("efb", "efb1", b"EFB1" + u32(2, 2) + TWO)
seed("efb", "unfinished", b"EFB1" + u32(0, 2) + TWO)
seed("efb", "cut", b"EFB1" + u32(3, 2) + TWO[:-3])
seed("efb", "nan", b"EFB1" + u32(2, 2) + TWO[:-4] + f32(float("nan")))
seed("efb", "ids", b"EFB2" + u32(2, 2, 1) + TWO)
seed("efb", "texts", b"EFB2" + u32(1, 2, 2) + text(b"ab") + f32(1, 2))
seed("efb", "both", b"EFB2" + u32(1, 2, 7) + text(b"ab") + tokens(3, 4) + f32(0, 1))
seed("efb", "newer", b"EFB3" + u32(1, 2, 7))

seed("efck", "projection", b"EFCK1" + u32(2, 3, 1) + f32(*range(8)))
seed("efck", "no_bias", b"EFCK1" + u32(2, 3, 0) + f32(*range(6)))
seed("efck", "moments", b"EFOP1" + u32(7, 2, 6) + f32(*range(12)) + u32(2) + f32(*range(4)))

seed("safetensors", "empty", safetensors({}))
seed("safetensors", "two", safetensors({"a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
                                        "b": {"dtype": "U8", "shape": [], "data_offsets": [8, 9]}}, bytes(9)))
seed("safetensors", "checkpoint", safetensors({"__metadata__": {
    "format": "pt", "run": json.dumps({"version": 1, "step": 0}),
    "config": json.dumps({"vocab": 9, "width": 4, "hidden": 6, "taps": 5, "out": 3, "length": 8, "dilations": [1],
                          "eps": 1e-5, "tanh": False})}}))
