"""Times the training step of each contestant, in turns.

Each contestant first has to compute the losses of our own step, from the same
weights, or the run ends. Then each waits in a process of its own for its turn
(A B C, A B C, ...), so that load of the machine meets all alike.

Example:

    python -m benchmarks.training --backends tensorflow,torch --preset compact
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import statistics
import sys

from benchmarks import report
from benchmarks.agreement import disagreements
from benchmarks.peers import CONTESTANTS
from benchmarks.peers import Contestant
from benchmarks.peers import Unavailable
from benchmarks.worker import start_worker
from keras_ssgan.settings import PRESETS
from keras_ssgan.settings import get_preset

MATMULS = 3


def main():
    args = _parse_args()
    settings = get_preset(args.preset)
    batch_size = args.batch_size or settings.batch_size
    contestants = [
        Contestant(backend, name, dtype)
        for dtype in args.dtype
        for backend in args.backends
        for name in CONTESTANTS[backend]
        if args.contestants is None
        or {name, f"{backend}/{name}"} & set(args.contestants)
    ]
    contestants = _check(contestants, settings)
    if args.memory_steps:
        results = _watch_memory(contestants, settings, batch_size, args)
    else:
        results = _race(contestants, settings, batch_size, args)
    if args.output:
        document = {
            "arguments": vars(args) | {"batch_size": batch_size},
            "machine": _describe_machine(args.backends),
            **results,
        }
        report.write(args.output, document)


def _parse_args():
    parser = argparse.ArgumentParser(
        "python -m benchmarks.training", description=__doc__.split("\n")[0]
    )

    parser.add_argument("--backends", type=report.names, default=[*CONTESTANTS])
    parser.add_argument(
        "--contestants",
        type=report.names,
        help="such as ours,torch/loop (default: all of the backends)",
    )
    parser.add_argument("--preset", choices=PRESETS, default="compact")
    parser.add_argument("--batch-size", type=int, help="default: the preset's")
    parser.add_argument(
        "--dtype",
        type=report.names,
        default=["float32"],
        help="float32, bfloat16 (mixed precision), or both",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--steps", type=int, default=20, help="per round, and per call of `fit`"
    )
    parser.add_argument(
        "--matmul-size",
        type=int,
        default=4096,
        help="of the matrices whose product measures the machine's peak",
    )
    parser.add_argument(
        "--memory-steps",
        type=int,
        help="instead of timing, see how memory grows over so many steps",
    )
    parser.add_argument("--output", type=pathlib.Path, help="JSON file")
    return parser.parse_args()


def _check(contestants, settings):
    """Leaves out who cannot run; ends the run if one computes another method.

    What is believed is our step on the first backend, which the tests compare
    with an independent one.
    """

    def believed(contestant):
        return dataclasses.replace(
            contestant, backend=contestants[0].backend, name="ours"
        )

    def losses_of(contestant):
        with start_worker(contestant, settings, None) as worker:
            try:
                return worker.ask("losses")
            except Unavailable as reason:
                return reason

    # Compiling takes longer than the steps, and a core or two each.
    at_once = max(1, os.cpu_count() // 4)
    asked = list(dict.fromkeys([*map(believed, contestants), *contestants]))
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        known = dict(zip(asked, pool.map(losses_of, asked), strict=True))

    able = []
    for contestant in contestants:
        losses = known[contestant]
        if isinstance(losses, Unavailable):
            print(f"{contestant} is unavailable: {losses}")
            continue
        problems = disagreements(
            losses, known[believed(contestant)], contestant.dtype
        )
        if problems:
            sys.exit("\n".join([f"{contestant} disagrees:", *problems]))
        print(f"{contestant} agrees")
        able.append(contestant)
    return able


def _race(contestants, settings, batch_size, args):
    """Times the contestants, and matrix products, and prints the table."""
    with contextlib.ExitStack() as stack:

        def start(contestant, command, *arguments):
            worker = stack.enter_context(
                start_worker(contestant, settings, batch_size)
            )
            return worker, worker.ask(command, *arguments)

        workers = [(c, *start(c, "start")) for c in contestants]
        matmuls = [
            (c, start(c, "start_matmul", args.matmul_size)[0])
            for c in _matmuls(contestants)
        ]
        timings = [
            {
                "contestant": str(contestant),
                "first_step_seconds": first_step_seconds,
                "seconds": [],
            }
            for contestant, _, first_step_seconds in workers
        ]
        products = {str(contestant): [] for contestant, _ in matmuls}
        for i in range(args.rounds):
            print(f"round {i + 1} of {args.rounds}", flush=True)
            for timing, (contestant, worker, _) in zip(
                timings, workers, strict=True
            ):
                timing["seconds"].append(worker.ask("train", args.steps))
                if contestant.name == "ours":
                    timing.setdefault("bare_seconds", []).append(
                        worker.ask("train_bare", args.steps)
                    )
            for contestant, worker in matmuls:
                products[str(contestant)].append(
                    worker.ask("matmul", MATMULS) / MATMULS
                )
        for timing, (_, worker, _) in zip(timings, workers, strict=True):
            timing["peak_memory_mib"] = worker.ask("peak_memory")

    peaks = {
        name: 2e-9 * args.matmul_size**3 / statistics.median(seconds)
        for name, seconds in products.items()
    }
    summaries = [
        report.summarize(
            timing,
            settings,
            batch_size,
            args.steps,
            max(v for k, v in peaks.items() if k.endswith(contestant.dtype)),
        )
        for timing, contestant in zip(timings, contestants, strict=True)
    ]
    print(report.table(summaries))
    for name, gflops in peaks.items():
        print(f"{name}: {gflops:.0f} GFLOP/s")
    return {"contestants": summaries, "peak_gflops": peaks}


def _matmuls(contestants):
    """One contestant per backend and dtype, in order."""
    pairs = dict.fromkeys((c.backend, c.dtype) for c in contestants)
    return [Contestant(backend, "matmul", dtype) for backend, dtype in pairs]


def _watch_memory(contestants, settings, batch_size, args):
    """Peak memory of our `fit` after a tenth, half and all of the steps."""
    turns = args.memory_steps // args.steps
    memory = {}
    for contestant in contestants:
        if contestant.name != "ours":
            continue
        with start_worker(contestant, settings, batch_size) as worker:
            worker.ask("start")
            peaks = {}
            for turn in range(1, turns + 1):
                worker.ask("train", args.steps)
                if turn in (turns // 10, turns // 2, turns):
                    peaks[turn * args.steps] = worker.ask("peak_memory")
        memory[str(contestant)] = peaks
        print(
            f"{contestant}:",
            ", ".join(f"{v:.0f} MiB after {k}" for k, v in peaks.items()),
        )
    return {"peak_memory_mib": memory}


def _describe_machine(backends):
    return {
        **report.describe_machine(),
        "python": platform.python_version(),
        **{
            name: importlib.metadata.version(name)
            for name in ("keras", "numpy", *backends)
        },
    }


if __name__ == "__main__":
    main()
