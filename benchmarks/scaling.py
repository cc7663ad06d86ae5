"""Times a step on 1, 2, 4 and 8 simulated devices, and in 2 processes.

The global batch stays the same, and so do the cores, which all devices share:
what a step takes longer is overhead, not what real devices would save.

Example:

    python -m benchmarks.scaling --backends jax,torch --output scaling.json
"""

import argparse
import os
import pathlib
import statistics

from benchmarks import report
from benchmarks.launch import launch_replica
from keras_ssgan.settings import PRESETS

# What is compiled or first allocated comes with the first two steps.
WARM_UP = 2


def main():
    args = _parse_args()
    results = {}
    for backend in args.backends:
        layouts = [(n, 1) for n in args.devices] if backend != "torch" else []
        layouts = [(None, 1), *layouts]
        if backend != "tensorflow":
            layouts.append((None, 2))
        for devices, processes in layouts:
            name = f"{backend}, {devices or 1} devices, {processes} processes"
            seconds = _time(args, backend, devices, processes)
            results[name] = {
                "median_seconds": statistics.median(seconds),
                "seconds": seconds,
            }
            print(f"{name}: {statistics.median(seconds):.4f} s", flush=True)
    if args.output:
        document = {
            "arguments": vars(args),
            "machine": {
                **report.describe_machine(),
                "load": os.getloadavg(),
            },
            "steps": results,
        }
        report.write(args.output, document)


def _parse_args():
    parser = argparse.ArgumentParser("python -m benchmarks.scaling")

    add = parser.add_argument
    add("--backends", type=report.names, default=["jax", "tensorflow", "torch"])
    add("--devices", type=report.counts, default=[2, 4, 8])
    add("--preset", choices=PRESETS, help="default: a tiny GAN")
    add("--batch-size", type=int, default=64, help="of all devices together")
    add("--steps", type=int, default=30)
    add("--output", type=pathlib.Path, help="JSON file")
    return parser.parse_args()


def _time(args, backend, devices, processes):
    arguments = [
        f"--batch-size={args.batch_size}",
        f"--steps={args.steps + WARM_UP}",
    ]
    if args.preset:
        arguments.append(f"--preset={args.preset}")
    _, timings = launch_replica(
        backend, *arguments, devices=devices, processes=processes
    )
    return timings["seconds"][WARM_UP:]


if __name__ == "__main__":
    main()
