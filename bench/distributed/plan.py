# SPDX-License-Identifier: Apache-2.0
"""How long a step takes on N machines, on paper (docs/performance/distributed.md has the formulas).

    python bench/distributed/plan.py --forward 12 --gradients 6 --backward 12 --update 4.4

The residual MLP of --width and --blocks on --inputs inputs; times in ms are one machine's, for --rows rows.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from contest import markdown


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value, what in (("width", 512, "d"), ("blocks", 12, "L, in block-parallel training those of one machine"), ("inputs", 3072, ""),
                              ("classes", 10, "C"), ("rows", 128, "of one machine, in block-parallel training of a micro-batch")):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{what} (default: {value})")
    for name, what in (("forward", "the forward pass"), ("gradients", "weights' gradients"), ("backward", "back-propagation's gradients of hidden states"),
                       ("update", "AdamW")):
        parser.add_argument(f"--{name}", type=float, required=True, metavar="MS", help=what)
    parser.add_argument("--machines", type=int, nargs="+", default=[2, 4, 8, 16, 32, 64])
    parser.add_argument("--links", type=float, nargs="+", default=[10, 200], metavar="GBPS")
    parser.add_argument("--latency", type=float, default=0.03, metavar="MS", help="of a message (default: %(default)s)")
    return parser.parse_args()


def megabytes(args, factored):
    """What a step sums over data-parallel machines."""
    d, c = args.width, args.classes
    first = args.blocks * (d * d + d + 2 * d)  # LayerNorm and the first layer
    readout = d * c + c + 2 * d
    products = (c * args.inputs + c) + args.blocks * (c * d + c) if factored else (d * args.inputs + d) + args.blocks * (d * d + d)
    return 4e-6 * (first + readout + products)


def ring(n, mb, gbps, latency):
    """ms in which a ring of n sums mb megabytes."""
    return 2 * (n - 1) / n * mb * 8 / gbps + 2 * (n - 1) * latency


def data_parallel(args, n, mb, gbps, before, gradients):
    """A message is on its way while the gradients after it are made."""
    return before + max(gradients, ring(n, mb, gbps, args.latency)) + args.update


def block_parallel(args, n, m, hop):
    """Micro-batches are computed while others are on their way."""
    f, w, b, update = args.forward, args.gradients, args.gradients + args.backward, args.update
    return {"bp": n * (f + b) + 2 * (n - 1) * hop + (m - 1) * (max(f, hop) + max(b, hop)) + update,
            "dfa": (n - 1) * (f + hop) + f + (m - 1) * max(f, hop) + m * w + update}


def main():
    args = arguments()
    alone = {"bp": args.forward + args.gradients + args.backward + args.update, "dfa": args.forward + args.gradients + args.update}
    before = {"bp": args.forward + args.backward, "dfa": args.forward}
    volume = {"bp": megabytes(args, False), "dfa": megabytes(args, True)}
    head = ["machines", *(f"{rule}, {gbps:g} Gb/s" for gbps in args.links for rule in ("bp", "dfa"))]
    rows = []
    for n in args.machines:
        rows.append([n, *(f"{t:.1f} ({alone[rule] / t:.2f})" for gbps in args.links for rule in ("bp", "dfa")
                          for t in [data_parallel(args, n, volume[rule], gbps, before[rule], args.gradients)])])
    print(f"data-parallel, {args.rows} rows a machine; bp sums {volume['bp']:.1f} MB, dfa {volume['dfa']:.1f} MB; ms a step (efficiency)\n")
    print(markdown(head, rows))
    hidden = 4e-6 * args.rows * args.width
    rows = []
    for n in args.machines:
        m, row = n, [n, n * args.blocks, n * args.rows]  # as many micro-batches as machines
        for gbps in args.links:
            times = block_parallel(args, n, m, hidden * 8 / gbps + args.latency)
            f, w, b = args.forward, args.gradients, args.gradients + args.backward
            ideal = {"bp": m * (f + b) + args.update, "dfa": m * (f + w) + args.update}
            row += [f"{times[rule]:.0f} ({ideal[rule] / times[rule]:.2f})" for rule in ("bp", "dfa")]
        rows.append(row)
    print(f"\nblock-parallel, {args.blocks} blocks a machine, as many micro-batches of {args.rows} rows as machines; ms a step (efficiency)\n")
    print(markdown(["machines", "blocks", "rows", *(f"{rule}, {gbps:g} Gb/s" for gbps in args.links for rule in ("bp", "dfa"))], rows))


if __name__ == "__main__":
    main()
