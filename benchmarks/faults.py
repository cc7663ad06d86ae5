"""Kills training runs and damages their checkpoints, and counts what is lost.

A run is killed, resumed, killed again, until it ends; then its history and all
variables are compared with those of a run that nothing happened to. The backend
is `KERAS_BACKEND`'s.

Example:

    python -m benchmarks.faults --kills 50 --seed 0 --output faults.json
"""

import argparse
import io
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time
import zipfile

import h5py
import numpy as np

SETTINGS = ("preset", "epochs", "baseline", "seed")
# Most checkpoints that a process may write, and most seconds after them.
CHECKPOINTS = 6
SECONDS = 0.2
# Seconds between two looks at a folder.
POLL = 0.001
# Share of the kills that wait for a file that is being written.
IN_A_WRITE = 0.5
# Share of the kills after which the newest checkpoint is damaged, too.
DAMAGED = 0.4


def main():
    args = _parse_args()
    # Each process is a copy of one that has imported the backend already.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras_ssgan.training"])
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        counts = inject(args, pathlib.Path(folder), context)
    report = {
        "backend": os.environ["KERAS_BACKEND"],
        **{name: getattr(args, name) for name in SETTINGS},
        **counts,
        "seconds": round(time.perf_counter() - start),
    }
    text = json.dumps(report, indent=2)
    print(text)
    if args.output:
        args.output.write_text(text + "\n")
    sys.exit(report["runs_identical"] < report["runs_finished"])


def _parse_args():
    parser = argparse.ArgumentParser(
        "python -m benchmarks.faults", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dataset", default="digits", help="as for train")
    parser.add_argument("--preset", default="compact")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--baseline", action="store_true", help="as for train")
    parser.add_argument("--output", type=pathlib.Path)
    return parser.parse_args()


def inject(args, folder, context):
    """Kills until there were as many kills as asked for.

    Args:
        args: The arguments of the command line.
        folder: Path of an empty folder.
        context: Context of `multiprocessing`.

    Returns:
        Dict of counts.
    """
    rng = random.Random(args.seed)
    settings = ["--dataset", args.dataset, "--preset", args.preset]
    settings += ["--epochs", str(args.epochs)]
    settings += ["--baseline"] * args.baseline
    unkilled = Run(folder / "unkilled", settings, context)
    unkilled.go_on()

    names = ("kills", "kills_during_a_write", "truncated", "bit_flipped")
    names += ("skipped_and_said", "runs_finished", "runs_identical")
    counts = dict.fromkeys(names, 0)
    run = Run(folder / "killed", settings, context)
    while run.folder.exists() or counts["kills"] < args.kills:
        last = counts["kills"] >= args.kills
        killed, said = run.go_on(None if last else rng)
        counts["skipped_and_said"] += run.heard_of_damage(said)
        if killed:
            counts["kills"] += 1
            counts["kills_during_a_write"] += run.is_writing()
            if rng.random() < DAMAGED:
                kind = run.damage(rng)
                if kind:
                    counts[kind] += 1
        else:
            counts["runs_finished"] += 1
            counts["runs_identical"] += run.results() == unkilled.results()
            shutil.rmtree(run.folder)
            run = Run(run.folder, settings, context)
    return counts


class Run:
    """A run of the command line, process after process.

    Args:
        folder: Path of its folder.
        settings: List of arguments.
        context: Context of `multiprocessing`.
    """

    def __init__(self, folder, settings, context):
        self.folder = folder
        self.settings = settings
        self.context = context
        self._damaged = set()
        self._unsaid = set()

    def go_on(self, rng=None):
        """Trains to the end, or until killed.

        Args:
            rng: `random.Random` that decides when to kill; `None` for not.

        Returns:
            `(killed, said)`: bool, and the text on stderr.
        """
        arguments = ["train", *self.settings, "--output", str(self.folder)]
        if (self.folder / "config.json").exists():
            arguments.append("--resume")
        # At every step: many are to be killed while they write.
        arguments += ["--checkpoint-every", "0", "--quiet"]
        log = self.folder.with_suffix(".log")
        process = self.context.Process(target=_train, args=(arguments, log))
        process.start()
        self._pid = process.pid
        if rng is not None:
            self._await_checkpoints(rng.randint(0, CHECKPOINTS), process)
            if rng.random() < IN_A_WRITE:
                while process.is_alive() and not self.is_writing():
                    time.sleep(POLL)
            else:
                time.sleep(SECONDS * rng.random())
            process.kill()
        process.join()
        if process.exitcode not in (0, -9):
            raise RuntimeError(log.read_text())
        return process.exitcode == -9, log.read_text()

    def _await_checkpoints(self, count, process):
        seen = set(self._checkpoints())
        while process.is_alive() and count:
            time.sleep(POLL)
            new = set(self._checkpoints()) - seen
            seen |= new
            count = max(0, count - len(new))

    def is_writing(self):
        """Whether the last process is writing a file, or was when killed."""
        return any(self.folder.rglob(f".writing-{self._pid}-*"))

    def _checkpoints(self):
        """Names and inodes of the checkpoints, the oldest first.

        Those of the baseline, in a folder of their own, come last.
        """
        found = []
        for path in sorted(self.folder.rglob("[0-9]*.ckpt")):
            try:
                found.append((path, path.stat().st_ino))
            except FileNotFoundError:
                pass
        return found

    def damage(self, rng):
        """Truncates the newest checkpoint, or flips a bit of it.

        Only if there is another that is good: that is what is promised.

        Returns:
            `"truncated"`, `"bit_flipped"`, or `None` for neither.
        """
        whole = [c for c in self._checkpoints() if c not in self._damaged]
        # A baseline's are of no use to the GAN, nor the other way round.
        good = [c for c in whole if c[0].parent == whole[-1][0].parent]
        if len(good) < 2:
            return None
        path, _ = good[-1]
        self._damaged.add(good[-1])
        self._unsaid.add(path)
        position = rng.randrange(path.stat().st_size)
        with path.open("r+b") as file:
            if rng.random() < 0.5:
                file.truncate(position)
                return "truncated"
            file.seek(position)
            (byte,) = file.read(1)
            file.seek(position)
            file.write(bytes([byte ^ 1 << rng.randrange(8)]))
            return "bit_flipped"

    def heard_of_damage(self, said):
        """Counts the damaged checkpoints that a process names as skipped.

        Args:
            said: str, what it said.

        Returns:
            int.
        """
        heard = {p for p in self._unsaid if f"the checkpoint {p}" in said}
        self._unsaid -= heard
        return len(heard)

    def results(self):
        """Bytes of the history, each variable and the newest checkpoint."""
        found = {"history.csv": (self.folder / "history.csv").read_bytes()}
        newest, _ = self._checkpoints()[-1]
        # Without its checksum, and the line with the seconds that it took.
        found[newest.name] = newest.read_bytes().split(b"\n", 2)[2]
        with zipfile.ZipFile(self.folder / "gan.keras") as archive:
            weights = io.BytesIO(archive.read("model.weights.h5"))

        def add(name, item):
            if isinstance(item, h5py.Dataset):
                found[name] = np.asarray(item).tobytes()

        with h5py.File(weights) as file:
            file.visititems(add)
        return found


def _train(arguments, log):
    from keras_ssgan import cli

    with open(log, "w") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    sys.exit(cli.main(arguments))


if __name__ == "__main__":
    main()
