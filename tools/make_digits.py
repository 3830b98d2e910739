#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes data/digits: the handwritten digits that scikit-learn carries, as four IDX files with MNIST's names.

    python tools/make_digits.py [FOLDER]        (needs scikit-learn; FOLDER: data/digits)

The first 1,437 of the 1,797 images are the training set, the other 360 the test set; pixels keep their values, 0..16. The
files come out the same, byte for byte, every time. The last line printed holds the mean and deviation of pixel / 16 over
the training set, as data/digits.hpp has them.
"""

import pathlib
import struct
import sys

from sklearn.datasets import load_digits

TRAIN = 1437
UINT8 = 8


def idx(array):
    """The IDX file of a uint8 array."""
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, UINT8, array.ndim]) + sizes + array.tobytes()


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "data" / "digits"
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    folder.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    images, labels = digits.images.astype("uint8"), digits.target.astype("uint8")
    assert (images == digits.images).all() and (labels == digits.target).all() and len(images) == 1797
    for part, chosen in (("train", slice(None, TRAIN)), ("t10k", slice(TRAIN, None))):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images[chosen]))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels[chosen]))
        print(f"{part}: {len(labels[chosen])} images")
    pixels = images[:TRAIN] / images.max()
    print(f"mean {pixels.mean():.4f} deviation {pixels.std():.4f}")


if __name__ == "__main__":
    main()
