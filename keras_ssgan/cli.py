"""The command line: calls the package for what is asked, and prints.

Nothing here imports Keras before a command runs: `--help` stays quick, and
`--backend` can still choose.
"""

import csv
import importlib
import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from keras_ssgan import backends
from keras_ssgan import shipped
from keras_ssgan.arguments import COLUMNS
from keras_ssgan.arguments import parse
from keras_ssgan.errors import InputError
from keras_ssgan.errors import RunStopped
from keras_ssgan.files import WRITE_ERRORS
from keras_ssgan.files import bare_name
from keras_ssgan.interruption import Interruption
from keras_ssgan.scheduling import schedule_as_batch
from keras_ssgan.text_files import one_line
from keras_ssgan.text_files import print_error

# Test images that are enough to compare an export on.
EXPORT_SAMPLES = 1000

_logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: List of arguments. Defaults to those of the process.

    Returns:
        Exit code: 0, or 2 where the user has something to mend, 1 where
        training has failed, 130 or 143 where a signal stopped it, 141 where
        nobody reads what it prints.
    """
    arguments = parse(argv)
    schedule_as_batch()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("keras_ssgan").setLevel(
        logging.WARNING if arguments.quiet else logging.INFO
    )
    warnings.formatwarning = lambda message, *_: (
        f"keras-ssgan: {one_line(message)}\n"
    )
    # Where an encoding lacks characters of a class or a file.
    _write_stdout_with(errors="backslashreplace")
    try:
        if "backend" in arguments:
            _choose_backend(arguments.backend)
        exit_code = _COMMANDS[arguments.command](arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # As `head` does. Python would flush once more, and fail, on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except InputError as error:
        print_error(error)
        return 2
    except OSError as error:
        if error.filename is not None:
            print_error(f"{error.filename}: {error.strerror}")
        elif error.errno in WRITE_ERRORS:
            print_error(f"could not write what was asked for: {error.strerror}")
        else:
            raise
        return 2
    except RunStopped as stop:
        print(f"keras-ssgan: {stop}", file=sys.stderr)
        return stop.exit_code
    except KeyboardInterrupt:
        print("keras-ssgan: stopped", file=sys.stderr)
        return 130
    return exit_code or 0


def _write_stdout_with(**how):
    # Whoever calls `main` may have put something else in its place.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(**how)


# === Commands ===


def _train(arguments):
    from keras_ssgan import training
    from keras_ssgan.config import Config
    from keras_ssgan.config import read_config

    settings = {
        name: value
        for name, value in vars(arguments).items()
        if name in Config.__dataclass_fields__ and value is not None
    }
    if arguments.resume:
        if arguments.output is None:
            raise InputError("--resume needs --output, the folder of the run")
        # How many processes there are is of this call, not of the run.
        settings["distribute"] = bool(arguments.distribute)
        config = read_config(arguments.output, **settings)
    else:
        config = Config(**settings)
    name = bare_name(config.dataset)
    folder = arguments.output or Path("runs") / f"{name}-{config.preset}"
    metrics = training.train(
        config,
        folder,
        arguments.resume,
        verbose=_verbosity(arguments),
        checkpoint_every=arguments.checkpoint_every,
        tensorboard=arguments.tensorboard,
    )
    if metrics is None:
        # Another process of the run has them.
        return
    counts = metrics["images"]
    labels = counts["train_labels"]
    unlabeled = counts["train_images"] - labels
    _print_score(
        f"semi-supervised, {labels} labelled and {unlabeled} unlabelled images",
        metrics["test"],
    )
    if "baseline" in metrics:
        _print_score(
            f"the same network on the {labels} labelled images alone",
            metrics["baseline"],
        )
    print(f"Written to {folder}: training.gif, curves.png, confusion.png, ...")


def _evaluate(arguments):
    from keras_ssgan import evaluation
    from keras_ssgan import report
    from keras_ssgan import runs

    if arguments.output is not None:
        _refuse_existing(arguments.output)
    model = runs.load_classifier(arguments.model)
    if arguments.dataset is None and not arguments.model.is_dir():
        arguments.dataset = "mnist"
    name, dataset = _load_dataset(arguments, model)
    # Keras' progress bar goes where the JSON goes.
    verbose = 0 if arguments.json else _verbosity(arguments)
    figures, probabilities = evaluation.score(
        model, (dataset.x_test, dataset.y_test), verbose
    )
    title = one_line(f"Test images of {name}, by {arguments.model}")
    if arguments.output is not None:
        report.write_report(
            arguments.output,
            title,
            figures,
            dataset.x_test,
            dataset.y_test,
            probabilities,
            dataset.class_names,
        )
    if arguments.json:
        print(json.dumps(figures))
        return
    print(title)
    print("\n".join(report.summary(figures)))
    _print_columns(report.class_table(figures, dataset.class_names), str.rjust)
    if arguments.output is not None:
        print(f"Written to {arguments.output}: report.md and its pictures")


def _load_dataset(arguments, model):
    """The dataset that is asked for, or that of the run, and its name.

    Refuses one of other classes or channels than the model's, and that of a
    run if its images are no longer those that were held out.
    """
    from keras_ssgan import datasets
    from keras_ssgan import image_formats
    from keras_ssgan import runs
    from keras_ssgan.config import read_config

    path = arguments.model
    largest = image_formats.longest_side(path)
    if arguments.dataset is not None:
        dataset = datasets.load(arguments.dataset, largest=largest)
        _check_fit(model, dataset, path, arguments.dataset)
        return arguments.dataset, dataset
    config = read_config(path)
    try:
        dataset = datasets.load(config.dataset, config.stream, largest)
    except InputError as error:
        raise InputError(
            f"{error} ({path} was trained with it; where it lies now, "
            "--dataset tells)"
        ) from None
    _check_fit(model, dataset, path, config.dataset)
    if not dataset.fingerprint().startswith(runs.load_fingerprint(path)):
        raise InputError(
            f"{config.dataset} has changed since {path} was trained, and its "
            "test images may be among those that were trained on; give "
            f"--dataset {config.dataset} to take them all the same"
        )
    return config.dataset, dataset


def _check_fit(model, dataset, path, name):
    """Refuses a dataset of other classes or channels than the model's."""
    from keras_ssgan import checks
    from keras_ssgan import runs

    for things, of_model, of_dataset in (
        ("classes", model.output_shape[-1], dataset.num_classes),
        (
            "channels",
            checks.count_channels(model.input_shape),
            dataset.channels,
        ),
    ):
        if of_model != of_dataset:
            raise InputError(
                f"{path} is for {of_model} {things} and {name} has "
                f"{of_dataset}; give --dataset what it was trained with"
            )
    ours = runs.load_class_names(path, dataset.num_classes)
    theirs = dataset.class_names
    # Numbers are for classes whose names are not known.
    numbers = [str(label) for label in range(dataset.num_classes)]
    if ours != theirs and numbers not in (ours, theirs):
        pairs = zip(ours, theirs, strict=True)
        our, their = next((a, b) for a, b in pairs if a != b)
        raise InputError(
            f"a class of {path} is {our} where that of {name} is {their}; give "
            "--dataset what it was trained with"
        )


def _predict(arguments):
    from keras_ssgan import checks
    from keras_ssgan import datasets
    from keras_ssgan import image_formats
    from keras_ssgan import runs
    from keras_ssgan.classifier import classify

    path, images = _model_and_images(arguments.paths)
    model = runs.load_classifier(path)
    if checks.count_channels(model.input_shape) != 1:
        raise InputError(
            f"{path} takes images in colour, and predict reads them in grey; "
            "load it with keras.saving.load_model"
        )
    says_nothing = path != shipped.CLASSIFIER and not image_formats.load(path)
    if says_nothing and not arguments.as_is:
        _logger.info(
            "%s does not say what images it is for: MNIST's are assumed; name "
            "the folder of its run instead",
            path,
        )
    read = (
        datasets.read_image if arguments.as_is else image_formats.reader(path)
    )
    files, exit_code = [], 0

    def readable():
        nonlocal exit_code
        for file in datasets.find_images(images):
            try:
                image = read(file)
            except InputError as error:
                # As ls does: the others are answered.
                print_error(error)
                exit_code = 2
            else:
                files.append(file)
                yield image

    probabilities = classify(model, readable())
    if not files:
        return exit_code
    names = runs.load_class_names(path, probabilities.shape[1])
    if arguments.json:
        _print_json_lines(files, names, probabilities)
    elif arguments.csv:
        _print_csv(files, names, probabilities)
    else:
        _print_table(files, names, probabilities)
    return exit_code


def _model_and_images(paths):
    """The first path, if it is a model, or else the one that is shipped."""
    from keras_ssgan import runs

    first, *others = map(Path, paths)
    if misplaced := next(filter(runs.is_model, others), None):
        raise InputError(
            f"{misplaced} is a model; name one model, before the images"
        )
    if not runs.is_model(first):
        shipped.verify(shipped.CLASSIFIER)
        _logger.info(
            "By the classifier of MNIST's digits that is shipped; to use your "
            "own, name the folder of its run before the images"
        )
        return shipped.CLASSIFIER, paths
    if not others:
        raise InputError(f"name the images that {first} is to look at, too")
    return first, paths[1:]


def _generate(arguments):
    from keras_ssgan import animation
    from keras_ssgan import limits
    from keras_ssgan import plotting
    from keras_ssgan import runs
    from keras_ssgan import sampling

    animated = arguments.output.suffix.lower() == ".gif"
    if animated and not arguments.interpolate:
        raise InputError(
            f"{arguments.output} would be a still; give --interpolate too, or "
            "an --output that ends in .png"
        )
    if arguments.by_class and arguments.count:
        raise InputError(
            "--by-class draws --columns images of each class; leave --count out"
        )
    if arguments.interpolate and arguments.columns:
        raise InputError(
            "--interpolate makes rows of as many images as it has steps; leave "
            "--columns out"
        )
    if not animated and arguments.output.suffix.lower() != ".png":
        raise InputError(f"{arguments.output} has to end in .png or .gif")
    _refuse_existing(arguments.output)
    if not arguments.output.parent.is_dir():
        raise InputError(
            f"there is no folder {arguments.output.parent} to write to; make "
            "it first"
        )
    if arguments.model is None:
        shipped.verify(shipped.GENERATOR)
        arguments.model = shipped.GENERATOR
    gan = runs.load_gan(arguments.model)
    if arguments.by_class:
        _generate_by_class(gan, arguments)
        return
    columns = arguments.interpolate or arguments.columns or COLUMNS
    count = arguments.count or (5 if arguments.interpolate else 25)
    # In float32, and before them the latents.
    size = 4 * (gan.latent_dim + math.prod(gan.image_shape))
    limits.check_memory(
        count * (arguments.interpolate or 1) * size,
        "drawing so many images",
        "ask for fewer",
    )
    if arguments.interpolate:
        stops = gan.sample_latents(count, arguments.seed)
        images = gan.decode(sampling.closed_path(stops, columns))
    else:
        images = gan.generate(count, seed=arguments.seed)
    if animated:
        animation.loop(images, arguments.output)
    else:
        plotting.image_grid(images, columns).save(arguments.output)
    print(f"{len(images)} images written to {arguments.output}")


def _generate_by_class(gan, arguments):
    from keras_ssgan import plotting
    from keras_ssgan import runs
    from keras_ssgan import sampling

    columns = arguments.columns or COLUMNS
    rows, draws = sampling.generate_by_class(
        gan,
        columns,
        arguments.seed,
        classifier=runs.load_classifier(arguments.model),
    )
    if not any(map(len, rows)):
        raise InputError(
            f"the classifier is sure of none of {draws} images drawn; train "
            "longer, or leave --by-class out"
        )
    names = runs.load_class_names(arguments.model, gan.num_classes)
    plotting.class_grid(rows, names, columns).save(arguments.output)
    for name, images in zip(names, rows, strict=True):
        if len(images) < columns:
            print(f"{name}: {len(images) or 'none'} in {draws} images drawn")
    print(
        f"{sum(map(len, rows))} of {draws} images drawn written to "
        f"{arguments.output}"
    )


def _export(arguments):
    from keras_ssgan import export
    from keras_ssgan import image_formats
    from keras_ssgan import runs
    from keras_ssgan.datasets import streams

    model = runs.load_classifier(arguments.model)
    gan = None
    if arguments.generator:
        gan = runs.load_gan(arguments.model)
        # Before the classifier is written.
        export.find_backends("onnx")
        if not arguments.overwrite:
            _refuse_existing(export.generator_file(arguments.output))
    samples = labels = None
    if arguments.dataset is not None or arguments.model.is_dir():
        _, dataset = _load_dataset(arguments, model)
        rows = streams.some_rows(dataset.x_test, EXPORT_SAMPLES)
        samples, labels = dataset.x_test[rows], dataset.y_test[rows]
    report = export.export_classifier(
        model,
        arguments.output,
        formats=arguments.formats,
        class_names=runs.load_class_names(
            arguments.model, model.output_shape[-1]
        ),
        samples=samples,
        labels=labels,
        overwrite=arguments.overwrite,
        metadata=image_formats.load(arguments.model),
    )
    _print_exports(report)
    if gan is not None:
        report = export.export_generator(
            gan, arguments.output, overwrite=arguments.overwrite
        )
        _print_exports({"generator": report["onnx"]})


def _print_exports(report):
    for name, entry in report.items():
        line = f"{name:>12} differs by {entry['max_difference']:.1e} at most"
        if "accuracy" in entry:
            line += f", {entry['accuracy']:.2%} correct"
        print(f"{line}: {entry['path']}")


def _demo(arguments):
    import threading
    import webbrowser

    from keras_ssgan.demo import site
    from keras_ssgan.demo.server import Server

    try:
        with Server(arguments.port) as server:
            server.files = site.read_page()
            if not arguments.quiet:
                print("Reading the models ...", flush=True)
            server.files |= site.read_models(arguments.model)
            print(f"{server.url} (Ctrl-C ends it)", flush=True)
            if not arguments.no_open:
                # A browser in the terminal returns when it is left.
                threading.Thread(
                    target=webbrowser.open, args=[server.url], daemon=True
                ).start()
            server.serve_forever()
    except KeyboardInterrupt:
        print()


def _benchmark(arguments):
    from keras_ssgan import benchmark

    rows = benchmark.compare(
        arguments.preset,
        arguments.backends,
        arguments.dtypes,
        arguments.batch_size,
        arguments.steps,
        arguments.rounds,
    )
    if arguments.json:
        print(json.dumps(rows))
        return
    heads = ("backend", "dtype", "images/s", "spread", "ms a step")
    heads += ("first step, s", "a run on 60,000 images, min")
    lines = [
        (
            row["backend"],
            row["dtype"],
            f"{row['images_per_second']:.1f}",
            f"{row['spread']:.2f}",
            f"{row['milliseconds']:.1f}",
            f"{row['first_step_seconds']:.1f}",
            f"{row['run_minutes']:.1f}",
        )
        for row in rows
    ]
    _print_columns([heads, *lines], str.rjust)
    print(
        f"The fastest: keras-ssgan train --preset {arguments.preset} "
        f"--backend {rows[0]['backend']} --dtype {rows[0]['dtype']}"
    )


_COMMANDS = {
    "train": _train,
    "evaluate": _evaluate,
    "predict": _predict,
    "generate": _generate,
    "export": _export,
    "demo": _demo,
    "benchmark": _benchmark,
}


# === Helpers ===


def _choose_backend(name):
    """Settles the backend, before anything imports Keras."""
    name = name or os.environ.get("KERAS_BACKEND") or None
    if name is not None:
        backends.check_known(name)
    backends.set_environment(name)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        # An interrupted import of a backend may end in whatever error.
        with Interruption() as interruption:
            keras = importlib.import_module("keras")
    except ModuleNotFoundError as error:
        if error.name not in backends.BACKENDS:
            raise
        raise backends.not_installed(error.name) from None
    if interruption.signal is not None:
        raise RunStopped("stopped", 128 + interruption.signal)
    if name is None:
        # Keras' own setting. What JAX and PyTorch read they read later.
        name = keras.backend.backend()
        backends.check_known(name)
        backends.set_environment(name)


def _verbosity(arguments):
    return 0 if arguments.quiet else "auto"


def _refuse_existing(path):
    if path.exists():
        raise InputError(f"{path} exists already; choose another --output")


def _print_score(title, report):
    print(
        f"{report['accuracy']:8.2%} correct ({report['errors']} errors in "
        f"{report['images']}): {title}"
    )


def _print_json_lines(files, names, probabilities):
    for file, row in zip(files, probabilities, strict=True):
        shares = [round(float(p), 6) for p in row]
        best = row.argmax()
        line = {
            "file": str(file),
            "class": names[best],
            "probability": shares[best],
            "probabilities": dict(zip(names, shares, strict=True)),
        }
        print(json.dumps(line))


def _print_csv(files, names, probabilities):
    # Whatever the terminal has: names of classes are UTF-8, and a file name
    # that is not comes out byte for byte.
    _write_stdout_with(encoding="utf-8", errors="surrogateescape")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "class", "probability", *names])
    for file, row in zip(files, probabilities, strict=True):
        shares = [f"{p:.6f}" for p in row]
        best = row.argmax()
        writer.writerow([file, names[best], shares[best], *shares])


def _print_table(files, names, probabilities):
    lines = [("file", "class", "probability", "runner-up", "probability")]
    for file, row in zip(files, probabilities, strict=True):
        best, second = (-row).argsort(kind="stable")[:2]
        lines.append(
            (
                file,
                names[best],
                f"{row[best]:.1%}",
                names[second],
                f"{row[second]:.1%}",
            )
        )
    _print_columns(lines, str.ljust)


def _print_columns(lines, justify):
    lines = [[one_line(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [justify(c, w) for c, w in zip(line, widths, strict=True)]
        print("  ".join(cells).rstrip())
