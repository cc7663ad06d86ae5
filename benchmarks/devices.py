"""Compares what many devices train with what one does, on the same batches.

Devices of a CPU are simulated; processes are real ones.

Example:

    python -m benchmarks.devices --output devices.json
"""

import argparse
import pathlib

import numpy as np

from benchmarks import report
from benchmarks.launch import launch_replica

# `(devices, processes)`; see docs/distribution.md for what there is not.
LAYOUTS = {
    "jax": [(2, 1), (4, 1), (8, 1), (None, 2)],
    "tensorflow": [(2, 1), (4, 1), (8, 1)],
    "torch": [(None, 2), (None, 4), (None, 8)],
}
HEADS = (
    "backend",
    "devices",
    "processes",
    "values",
    "of a variable",
    "of a figure",
)


def main():
    args = _parse_args()
    rows = []
    for backend in args.backends:
        for devices, processes in LAYOUTS[backend]:
            row = compare(backend, devices, processes, args.steps)
            rows.append(row)
            print(row, flush=True)
    print(
        report.markdown(
            HEADS,
            [
                [
                    row["backend"],
                    str(row["devices"]),
                    str(row["processes"]),
                    f"{row['values']:,}",
                    f"{row['largest_difference']:.1e}",
                    f"{row['largest_difference_of_history']:.1e}",
                ]
                for row in rows
            ],
        )
    )
    if args.output:
        document = {
            "arguments": vars(args),
            "machine": report.describe_machine(),
            "rows": rows,
        }
        report.write(args.output, document)


def _parse_args():
    parser = argparse.ArgumentParser("python -m benchmarks.devices")
    add = parser.add_argument
    add("--backends", type=report.names, default=list(LAYOUTS))
    add("--steps", type=int, default=3)
    add("--output", type=pathlib.Path, help="JSON file")
    return parser.parse_args()


def compare(backend, devices, processes, steps):
    """Trains on many devices and on one, which is dealt the same rows.

    Args:
        backend: Name of the backend.
        devices: int, devices of each process; `None` for one.
        processes: int.
        steps: int, batches.

    Returns:
        Dict of the layout, of how many values the variables of both networks
        and optimizers have, of the largest difference of one of them, and of
        the largest one of a figure of the history.
    """
    count = (devices or 1) * processes
    length = f"--steps={steps}"
    state, trained = launch_replica(
        backend, length, devices=devices, processes=processes
    )
    expected, other = launch_replica(backend, length, f"--dealt-to={count}")
    return {
        "backend": backend,
        "devices": devices or 1,
        "processes": processes,
        "values": sum(value.size for value in state),
        "largest_difference": _largest_difference(state, expected),
        "largest_difference_of_history": _largest_difference(
            [trained["history"][name] for name in other["history"]],
            list(other["history"].values()),
        ),
    }


def _largest_difference(values, others):
    return max(
        float(np.abs(np.subtract(a, b, dtype="float64")).max())
        for a, b in zip(values, others, strict=True)
    )


if __name__ == "__main__":
    main()
