#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""TensorBoard's own reader as the other side of tests/io/event_file.cpp.

    python python_events.py FOLDER     exits with 1, saying why, unless the folder holds what the test writes

Needs tensorboard; without it it exits with 77.
"""

import math
import sys

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError as error:
    print(error)
    sys.exit(77)


def expect(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: {found}, expected {expected}")


def histogram(events, tag):
    """(step, [(left, right, count)])."""
    kept = events.Histograms(tag)
    expect(f"histograms of {tag}", len(kept), 1)
    value = kept[0].histogram_value
    expect(f"counts of {tag}", len(value.bucket), len(value.bucket_limit))
    return kept[0].step, value


def main():
    events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "histograms": 0})
    events.Reload()
    tags = events.Tags()
    expect("scalars", sorted(tags["scalars"]), ["accuracy/test", "not finite"])
    expect("histograms", sorted(tags["histograms"]), ["constant", "tensor", "with gaps"])
    points = events.Scalars("accuracy/test")
    expect("points", [(point.step, point.value) for point in points], [(step, 0.25 * step) for step in range(300)] + [(300, 100)])
    if not all(point.wall_time > 1.7e9 for point in points):
        sys.exit(f"the time of a point is {points[0].wall_time}")
    expect("not finite", math.isnan(events.Scalars("not finite")[0].value), True)
    step, value = histogram(events, "tensor")
    expect("step", step, 5)
    expect("tensor", (value.min, value.max, value.num, value.sum, value.sum_squares), (0, 99, 100, 4950, 328350))
    expect("its buckets", (len(value.bucket), sum(value.bucket), value.bucket_limit[-1]), (30, 100, 99))
    expect("their order", value.bucket_limit, sorted(value.bucket_limit))
    _, value = histogram(events, "constant")
    expect("constant", (value.min, value.max, value.num, list(value.bucket_limit), list(value.bucket)), (2.5, 2.5, 4, [2.5], [4]))
    _, value = histogram(events, "with gaps")
    expect("with gaps", (value.min, value.max, value.num, sum(value.bucket)), (1, 3, 2, 2))


if __name__ == "__main__":
    main()
