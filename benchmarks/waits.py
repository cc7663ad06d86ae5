"""Times `fit` with threads scheduled as usual and as batch work, in turns.

As usual, TensorFlow may wait at the end of each epoch
(`keras_ssgan.scheduling`); on fewer cores more often.

Example:

    taskset --cpu-list 0 python -m benchmarks.waits
"""

import argparse
import json
import statistics
import time

from benchmarks import report
from benchmarks.launch import launch

POLICIES = ("usual", "batch")
COLUMNS = ("scheduled", "fit, s", "of it the processor, s")


def main():
    parser = argparse.ArgumentParser(
        "python -m benchmarks.waits", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--preset", default="compact")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--policy", choices=POLICIES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.policy:
        print(json.dumps(_time_fit(args)))
        return
    command = [
        "-m",
        "benchmarks.waits",
        f"--preset={args.preset}",
        f"--epochs={args.epochs}",
    ]
    timings = {policy: [] for policy in POLICIES}
    for _ in range(args.rounds):
        for policy in POLICIES:
            arguments = [*command, f"--policy={policy}"]
            (text,) = launch(arguments, "tensorflow")
            timings[policy].append(json.loads(text.splitlines()[-1]))
    rows = []
    for policy, rounds in timings.items():
        medians = map(statistics.median, zip(*rounds, strict=True))
        rows.append([policy, *(f"{seconds:.1f}" for seconds in medians)])
    print(report.markdown(COLUMNS, rows))


def _time_fit(args):
    """Seconds of one `fit` on the bundled digits, and of the processor."""
    import keras_ssgan as ks
    from keras_ssgan.scheduling import schedule_as_batch

    if args.policy == "batch":
        schedule_as_batch()
    (images, labels), _ = ks.datasets.load_digits()
    data = ks.datasets.MixedDataset(images, labels, batch_size=64, seed=0)
    gan = ks.SemiSupervisedGAN.from_preset(args.preset, seed=0)
    gan.compile()
    start, before = time.perf_counter(), time.process_time()
    gan.fit(data, epochs=args.epochs, shuffle=False, verbose=0)
    return time.perf_counter() - start, time.process_time() - before


if __name__ == "__main__":
    main()
