"""The command line: parses arguments, calls the package, prints.

Nothing here imports Keras before a command runs: `--help` stays quick, and
`--backend` can still choose.
"""

import argparse
import csv
import importlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from keras_ssgan import __version__
from keras_ssgan import backends
from keras_ssgan import shipped
from keras_ssgan.errors import InputError
from keras_ssgan.errors import RunStopped
from keras_ssgan.files import WRITE_ERRORS
from keras_ssgan.files import bare_name
from keras_ssgan.interruption import Interruption
from keras_ssgan.scheduling import schedule_as_batch
from keras_ssgan.settings import presets
from keras_ssgan.text_files import one_line

# Test images that are enough to compare an export on.
EXPORT_SAMPLES = 1000
# Generated images in a row.
COLUMNS = 5

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
        exit_code = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # As `head` does. Python would flush once more, and fail, on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except InputError as error:
        _print_error(error)
        return 2
    except OSError as error:
        if error.filename is not None:
            _print_error(f"{error.filename}: {error.strerror}")
        elif error.errno in WRITE_ERRORS:
            _print_error(
                f"could not write what was asked for: {error.strerror}"
            )
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


def _print_error(error):
    print(f"keras-ssgan: {one_line(error)}", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """One that answers as the commands do, without a screen of usage."""

    def parse_known_args(self, args=None, namespace=None):
        # The parser of a command would leave it to that of all of them.
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return namespace, unknown

    def error(self, message):
        _print_error(f"{message}; see {self.prog} --help")
        self.exit(2)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line; exits with code 2 where it cannot.

    Args:
        argv: List of arguments. Defaults to those of the process.

    Returns:
        `argparse.Namespace`, whose `run` is the command to call with it.
    """
    parser = _Parser(
        prog="keras-ssgan",
        description="Semi-supervised GANs: classifiers from few labels.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_generate(commands)
    _add_export(commands)
    _add_demo(commands)
    _add_benchmark(commands)
    return parser.parse_args(argv)


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
    from keras_ssgan import runs
    from keras_ssgan.config import read_config

    path = arguments.model
    largest = runs.longest_side(path)
    if arguments.dataset is not None:
        dataset = datasets.load(arguments.dataset, largest=largest)
        _check_fit(model, dataset, path, arguments.dataset)
        return arguments.dataset, dataset
    config = read_config(path)
    dataset = datasets.load(config.dataset, config.stream, largest)
    _check_fit(model, dataset, path, config.dataset)
    if runs.load_fingerprint(path) not in (None, dataset.fingerprint()):
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
    from keras_ssgan import runs

    path, images = _model_and_images(arguments.paths)
    model = runs.load_classifier(path)
    if checks.count_channels(model.input_shape) != 1:
        raise InputError(
            f"{path} takes images in colour, and predict reads them in grey; "
            "load it with keras.saving.load_model"
        )
    if path != shipped.CLASSIFIER and not runs.load_image_format(path):
        _logger.info(
            "%s does not say what images it is for: MNIST's are assumed; name "
            "the folder of its run instead",
            path,
        )
    read = datasets.read_image if arguments.as_is else runs.image_reader(path)
    files, pixels, exit_code = [], [], 0
    for file in datasets.find_images(images):
        try:
            pixels.append(read(file))
            files.append(file)
        except InputError as error:
            # As ls does: the others are answered.
            _print_error(error)
            exit_code = 2
    if not files:
        return exit_code
    probabilities = runs.classify(model, pixels)
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
    if arguments.interpolate:
        columns = arguments.interpolate
        stops = gan.sample_latents(arguments.count or 5, arguments.seed)
        images = gan.decode(sampling.closed_path(stops, columns))
    else:
        columns = arguments.columns or COLUMNS
        images = gan.generate(arguments.count or 25, seed=arguments.seed)
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
    from keras_ssgan import runs
    from keras_ssgan.datasets import streams

    model = runs.load_classifier(arguments.model)
    gan = None
    if arguments.generator:
        gan = runs.load_gan(arguments.model)
        if not arguments.overwrite:
            # Before the classifier is written.
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
        metadata=runs.load_image_format(arguments.model),
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


# === Arguments ===


def _add_command(commands, name, run, help, one_backend=True):
    parser = commands.add_parser(name, help=help, description=help)
    parser.set_defaults(run=run)
    if one_backend:
        parser.add_argument(
            "--backend",
            metavar="NAME",
            help=f"{', '.join(backends.BACKENDS)} (default: KERAS_BACKEND's, "
            "else Keras' own setting)",
        )
    parser.add_argument(
        "--quiet", action="store_true", help="no progress bar, results only"
    )
    return parser


def _add_train(commands):
    parser = _add_command(
        commands,
        "train",
        _train,
        "Train a GAN and its classifier; the results go to a folder.",
    )
    named = " ".join(f"{name}: {text}" for name, text in presets().items())
    add = parser.add_argument
    add(
        "--dataset",
        help="digits (comes with scikit-learn), mnist, an .npz file, a folder "
        "of IDX files, a folder of shards train-*.npz and test*.npz, or a "
        "folder of images with a sub-folder per class and perhaps unlabeled/, "
        "or with train/ and test/ of such "
        "(default: mnist)",
    )
    add(
        "--stream",
        action=argparse.BooleanOptionalAction,
        help="leave the training images on disk and read them when they are "
        "needed (default: shards and folders of images of more than 1 GiB)",
    )
    add(
        "--preset",
        help=f"{named} (Default: article, which takes hours on a CPU.)",
    )
    add(
        "--labels",
        type=_labels,
        metavar="N",
        help="labels to keep, a share with a point (0.2; 1.0 is all) or a "
        "count (100); the others are hidden (default: the preset's, 20 %% or "
        "100; all, if some images have none)",
    )
    add(
        "--validation",
        type=float,
        metavar="SHARE",
        help="share of the kept labels to hold out (default: 0.1)",
    )
    add("--epochs", type=int, metavar="N", help="default: the preset's")
    add("--batch-size", type=int, metavar="N", help="default: the preset's")
    add(
        "--labeled-per-batch",
        type=int,
        metavar="N",
        help="labelled images in a batch (default: the preset's share)",
    )
    add("--seed", type=_not_negative, metavar="N", help="default: 0")
    add(
        "--dtype",
        metavar="POLICY",
        help="float32, mixed_bfloat16 or mixed_float16 (default: float32)",
    )
    add(
        "--baseline",
        action=argparse.BooleanOptionalAction,
        help="also train the same network on the labelled images alone",
    )
    add(
        "--devices",
        type=_positive,
        metavar="N",
        help="devices of this process that share each batch (default: one; "
        "with --distribute, all)",
    )
    add(
        "--distribute",
        action="store_true",
        default=None,
        help="this is one of several processes, as its launcher's environment "
        "says (torchrun, KERAS_DISTRIBUTION_*)",
    )
    add(
        "--tensorboard",
        action="store_true",
        help="also write events for TensorBoard, to tensorboard/ in the "
        "folder; needs the packages tensorflow and tensorboard",
    )
    add(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="default: runs/DATASET-PRESET; must not exist or be empty, but "
        "with --resume",
    )
    add(
        "--resume",
        action="store_true",
        help="go on with the run in --output from its last checkpoint",
    )
    add(
        "--checkpoint-every",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="time between checkpoints; one after each epoch comes on top "
        "(default: 120)",
    )


def _add_evaluate(commands):
    parser = _add_command(
        commands, "evaluate", _evaluate, "Score a classifier on test images."
    )
    _add_model(parser)
    parser.add_argument(
        "--dataset",
        help="as for train (default: the run's; mnist for a .keras file)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="also write a report with pictures there; must not exist",
    )


def _add_predict(commands):
    parser = _add_command(
        commands,
        "predict",
        _predict,
        "Say which class images belong to, and how sure that is.",
    )
    add = parser.add_argument
    add(
        "paths",
        nargs="+",
        metavar="PATH",
        help="folder of a run or a .keras file, or none for the classifier of "
        "MNIST's digits that comes with the package; then images: files, "
        "folders (searched with their sub-folders) or patterns such as "
        "'scans/*.png', read as grey",
    )
    add(
        "--as-is",
        action="store_true",
        help="leave the images as they are, in grayscale; otherwise what "
        "stands out from the paper, which has to fill the picture, is scaled "
        "and centred as the ink of the run's images, or, where those were no "
        "digits on an even ground, images are brought to their size",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON lines")
    output.add_argument(
        "--csv",
        action="store_true",
        help="print CSV, with a column of probabilities per class",
    )


def _add_generate(commands):
    parser = _add_command(
        commands, "generate", _generate, "Draw images with a trained GAN."
    )
    add = parser.add_argument
    add(
        "model",
        type=Path,
        nargs="?",
        help="folder of a run, or a .keras file of a GAN (default: one that "
        "draws MNIST's digits and comes with the package)",
    )
    add(
        "--count",
        type=_positive,
        help="images (default: 25); with --interpolate, those to go between "
        "(default: 5)",
    )
    add(
        "--columns",
        type=_positive,
        metavar="N",
        help=f"images in a row (default: {COLUMNS})",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--interpolate",
        type=_positive,
        metavar="STEPS",
        help="go from image to image and back to the first, each in so many "
        "steps, which make a row; animated if --output ends in .gif",
    )
    what.add_argument(
        "--by-class",
        action="store_true",
        help="a row for each class, of images that the classifier gives at "
        "least 90%% to it; of 10,000 images at most",
    )
    add("--seed", type=_not_negative, help="default: another one every time")
    add(
        "--output",
        type=Path,
        default=Path("samples.png"),
        metavar="FILE",
        help="picture to write; must not exist (default: samples.png)",
    )


def _add_export(commands):
    parser = _add_command(
        commands,
        "export",
        _export,
        "Write a classifier for other runtimes; each is run to compare.",
    )
    _add_model(parser)
    add = parser.add_argument
    add(
        "--formats",
        type=_names,
        default=["keras", "onnx", "saved_model"],
        metavar="NAMES",
        help="of keras, onnx, saved_model, litert, litert_int8, openvino and "
        "torch, with commas (default: keras,onnx,saved_model)",
    )
    add(
        "--dataset",
        help="as for train; 1,000 of its test images, or a few more, taken "
        "from everywhere, are compared on (default: the run's; noise for a "
        ".keras file)",
    )
    add(
        "--generator",
        action="store_true",
        help="also write the generator, as ONNX",
    )
    add("--overwrite", action="store_true", help="replace files that are there")
    add(
        "--output",
        type=Path,
        required=True,
        metavar="PATH",
        help="what the files' names begin with",
    )


def _add_demo(commands):
    parser = _add_command(
        commands,
        "demo",
        _demo,
        "Serve a page, to this machine alone, where you draw and it reads.",
    )
    add = parser.add_argument
    add(
        "model",
        nargs="?",
        type=Path,
        help="folder of a run, a .keras file of a GAN, or an .onnx file that "
        "export wrote (default: models of MNIST's digits that come with the "
        "package)",
    )
    add(
        "--port",
        type=_not_negative,
        default=8000,
        help="0 for one that is free (default: 8000)",
    )
    add(
        "--no-open",
        action="store_true",
        help="leave opening the page to the user",
    )


def _add_benchmark(commands):
    parser = _add_command(
        commands,
        "benchmark",
        _benchmark,
        "Time training on this machine, by backend and dtype, in turns.",
        one_backend=False,
    )
    add = parser.add_argument
    add("--preset", default="compact", help="as for train (default: compact)")
    add(
        "--backends",
        type=_names,
        metavar="NAMES",
        help=f"of {', '.join(backends.BACKENDS)}, with commas (default: those "
        "that are installed)",
    )
    add(
        "--dtypes",
        type=_names,
        default=["float32"],
        metavar="POLICIES",
        help="as --dtype of train, with commas (default: float32)",
    )
    add("--batch-size", type=_positive, metavar="N", help="as for train")
    add(
        "--steps",
        type=_positive,
        default=20,
        metavar="N",
        help="in a turn (default: 20)",
    )
    add(
        "--rounds",
        type=_positive,
        default=3,
        metavar="N",
        help="turns of each (default: 3)",
    )
    add("--json", action="store_true", help="print JSON")


def _add_model(parser):
    parser.add_argument(
        "model", type=Path, help="folder of a run, or a .keras file"
    )


def _labels(text):
    """A share if there is a decimal point, else a count."""
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a share such as 0.2 nor a count such as 100"
        ) from None


def _names(text):
    """Names with commas between them."""
    return text.split(",")


def _positive(text):
    return _at_least(1, text)


def _not_negative(text):
    return _at_least(0, text)


def _at_least(least, text):
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no whole number"
        ) from None
    if value < least:
        raise argparse.ArgumentTypeError(f"has to be at least {least}")
    return value


# === Helpers ===


def _choose_backend(name):
    """Settles the backend, before anything imports Keras."""
    name = name or os.environ.get("KERAS_BACKEND")
    if name is not None:
        backends.check_known(name)
    backends.set_environment(name)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        # An interrupted import of a backend may end in whatever error.
        with Interruption() as interruption:
            importlib.import_module("keras")
    except ModuleNotFoundError as error:
        if error.name not in backends.BACKENDS:
            raise
        raise backends.not_installed(error.name) from None
    if interruption.signal is not None:
        raise RunStopped("stopped", 128 + interruption.signal)


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
