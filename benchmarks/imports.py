"""Times what has to be imported before anything runs, in fresh processes.

Example:

    KERAS_BACKEND=jax python -m benchmarks.imports
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

# In turns, so that load of the machine meets all alike.
COMMANDS = {
    "import keras": ["-c", "import keras"],
    "import keras, then the package": [
        "-c",
        "import keras, keras_ssgan; keras_ssgan.SemiSupervisedGAN",
    ],
    "import keras_ssgan": ["-c", "import keras_ssgan"],
    "keras-ssgan --help": ["-m", "keras_ssgan", "--help"],
}


def main():
    parser = argparse.ArgumentParser(
        "python -m benchmarks.imports", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    timings = {name: [] for name in COMMANDS}
    for _ in range(args.rounds):
        for name, arguments in COMMANDS.items():
            timings[name].append(_time(arguments))
    for name, rows in timings.items():
        wall, cpu = map(statistics.median, zip(*rows, strict=True))
        print(f"{name}: {wall:.2f} s, {cpu:.2f} s of the processor")


def _time(arguments):
    """Seconds, and seconds of the processor, of one Python process."""
    start, before = time.perf_counter(), _processor_seconds()
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - start, _processor_seconds() - before


def _processor_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
