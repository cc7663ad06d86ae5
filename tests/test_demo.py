"""The demo's server lets nobody else in; its page works in a real browser."""

import base64
import http.client
import json
import os
import queue
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
import webbrowser

import keras
import numpy as np
import onnx
import pytest
from conftest import converted_here
from PIL import Image

import keras_ssgan as ks
from keras_ssgan import cli
from keras_ssgan import datasets
from keras_ssgan import image_formats
from keras_ssgan import runs
from keras_ssgan import shipped
from keras_ssgan.demo import site
from keras_ssgan.demo import vendor
from keras_ssgan.demo.server import Server
from keras_ssgan.errors import InputError

pytestmark = pytest.mark.any_backend

# Milliseconds; on a machine that is busy the page takes its time.
_PATIENCE = 60_000

# On a pad of 280x280.
_SEVEN = [[(80, 60), (200, 60), (130, 230)]]
_FOUR = [[(150, 40), (70, 170), (210, 170)], [(150, 110), (150, 240)]]
_FIVE = [
    [(190, 50), (110, 50), (105, 130)]
    + [
        (135 + 55 * np.sin(angle), 175 - 50 * np.cos(angle))
        for angle in np.linspace(-0.3, 4.1, 20)
    ]
]
_NINE = [
    [
        (140 + 45 * np.sin(angle), 100 - 50 * np.cos(angle))
        for angle in np.linspace(np.pi / 2, 2.5 * np.pi, 20)
    ]
    + [(180, 240)]
]
_DOT = [[(30, 250)]]


# === The server ===


@pytest.fixture(scope="module")
def serve():
    """Serves files; returns the server."""
    servers = []

    def start(files):
        server = Server(0)
        server.files = files
        servers.append(server)
        threading.Thread(
            target=server.serve_forever, args=[0.05], daemon=True
        ).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def server(serve):
    return serve(
        {"/": ("text/html", b"page"), "/a.js": ("text/javascript", b"script")}
    )


def _ask(server, path="/", method="GET", host=None, **headers):
    """Status, headers and body of the answer to one request."""
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{port}")
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    with connection.getresponse() as response:
        return response.status, response.headers, response.read()


def test_files_are_served_with_their_type(server):
    status, headers, body = _ask(server, "/a.js")
    assert (status, body) == (200, b"script")
    assert headers["Content-Type"] == "text/javascript"
    assert _ask(server, "/?later")[2] == b"page"


def test_head_gives_the_length_and_no_content(server):
    status, headers, body = _ask(server, "/a.js", method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "6", b"")


def test_only_this_machine_can_connect(server):
    address, port = server.server_address
    assert address == "127.0.0.1"
    # Another of this machine's own addresses.
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", port), timeout=5)


def test_localhost_is_a_name_of_it(server):
    port = server.server_address[1]
    assert _ask(server, host=f"localhost:{port}")[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost:1", "[::1]"]
    + ["127.0.0.1:{port}.evil.example", "user@127.0.0.1:{port}"],
)
def test_other_names_for_this_machine_are_refused(server, host):
    host = host.format(port=server.server_address[1])
    assert _ask(server, host=host)[0] == 403


@pytest.mark.parametrize(
    "request_line",
    [b"GET / HTTP/1.0\r\n", b"GET /\r\n", b"GET / HTTP/1.1\r\n%s%s"],
)
def test_there_has_to_be_one_name(server, request_line):
    host = b"Host: 127.0.0.1:%d\r\n" % server.server_address[1]
    if b"%s" in request_line:
        request_line %= (host, host)
    with socket.create_connection(server.server_address, timeout=20) as client:
        client.sendall(request_line + b"\r\n")
        assert b"page" not in client.makefile("rb").read()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_pages_of_other_sites_are_refused(server, headers):
    assert _ask(server, **headers)[0] == 403


def test_its_own_page_is_not_refused(server):
    origin = server.url.rstrip("/")
    assert _ask(server, Origin=origin, Sec_Fetch_Site="same-origin")[0] == 200
    assert _ask(server, Sec_Fetch_Site="none")[0] == 200


@pytest.mark.parametrize(
    "path",
    ["/index.html", "/../cli.py", "/static/../../cli.py", "//etc/passwd"]
    + ["/%2e%2e/cli.py", "/..%2fcli.py", "/..\\cli.py", "/a.js/", "/a.js%00"]
    + ["/vendor/", "http://127.0.0.1/a.js", "file:///etc/passwd", "a.js", "*"],
)
def test_what_is_not_in_the_list_is_not_found(server, path):
    assert _ask(server, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "X"])
def test_other_methods_are_refused(server, method):
    status, _, body = _ask(server, method=method)
    assert status == 501 and b"page" not in body


@pytest.mark.parametrize("path", ["/", "/nothing"])
def test_every_answer_has_the_headers_that_protect(server, path):
    _, headers, _ = _ask(server, path)
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'; script-src 'self' ")
    assert "unsafe-inline" not in policy and "'unsafe-eval'" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Python" not in headers["Server"]


@pytest.mark.parametrize("port", ["taken", "99999"])
def test_a_port_that_cannot_be_had_is_one_line(port, server, capsys):
    if port == "taken":
        port = str(server.server_address[1])
    assert cli.main(["demo", "run", "--no-open", "--port", port]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"keras-ssgan: port {port} ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("name, reused", [("posix", True), ("nt", False)])
def test_only_where_it_is_safe_is_an_address_reused(name, reused, monkeypatch):
    with monkeypatch.context() as context:
        context.setattr(os, "name", name)
        names = runpy.run_path(sys.modules[Server.__module__].__file__)
    assert names["Server"].allow_reuse_address == reused


def test_a_browser_in_the_terminal_is_served(monkeypatch):
    answers = queue.Queue()

    def browse(url):
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                answers.put(response.read())
        except OSError as error:
            answers.put(error)

    monkeypatch.setattr(webbrowser, "open", browse)
    monkeypatch.setattr(Server, "timeout", 10)
    monkeypatch.setattr(Server, "serve_forever", Server.handle_request)
    monkeypatch.setattr(site, "read_page", lambda: {"/": ("a/b", b"page")})
    monkeypatch.setattr(site, "read_models", lambda model: {})
    assert cli.main(["demo", "--port", "0", "--quiet"]) == 0
    assert answers.get(timeout=10) == b"page"


def test_files_of_the_desktop_are_no_part_of_the_page(tmp_path, monkeypatch):
    for name in ("index.html", "a.js", ".DS_Store", "Thumbs.db"):
        (tmp_path / name).touch()
    (tmp_path / "vendor").mkdir()
    monkeypatch.setattr(site, "_STATIC", tmp_path)
    monkeypatch.setattr(vendor, "find", lambda: [])
    assert site.read_page().keys() == {"/", "/a.js"}


@pytest.mark.parametrize(
    "error, printed", [(BrokenPipeError(), False), (ValueError(), True)]
)
def test_a_page_that_is_left_while_it_loads_is_no_error(
    error, printed, server, capsys
):
    try:
        raise error
    except type(error):
        server.handle_error(None, ("127.0.0.1", 1))
    assert bool(capsys.readouterr().err) == printed


# === What runs the models in the browser ===


def test_files_that_were_not_fetched_are_asked_for(tmp_path):
    with pytest.raises(InputError, match=f"run .* -m {vendor.__name__}$"):
        vendor.find(tmp_path)


def _fake_npm(tmp_path, monkeypatch, script):
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


def test_another_package_of_the_same_name_is_not_kept(tmp_path, monkeypatch):
    script = f"echo changed > {vendor.PACKAGE}.tgz"
    _fake_npm(tmp_path, monkeypatch, script)
    with pytest.raises(InputError, match="is not the package that was tested"):
        vendor.fetch(tmp_path / "vendor")
    assert not (tmp_path / "vendor").exists()


def test_why_npm_failed_is_said_in_one_line(tmp_path, monkeypatch):
    _fake_npm(tmp_path, monkeypatch, "echo no network >&2; echo b >&2; exit 1")
    with pytest.raises(InputError, match="could not fetch .*: no network$"):
        vendor.fetch(tmp_path / "vendor")


def test_without_npm_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="install Node.js"):
        vendor.fetch(tmp_path / "vendor")


# === Its models ===

NAMES = ["zero", *"12345678", "number <b>nine</b>"]
IMAGE_FORMAT = {
    "image_size": [28, 28],
    "ink_size": [20, 20],
    "ink_by_mass": True,
    "light_paper": False,
}


def _normalized(image, path):
    """An 8x8 digit as the page would show it to the classifier."""
    Image.fromarray(np.pad(image, 1)).save(path)
    return datasets.read_digit(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run whose classifier can read simple digits."""
    keras.utils.set_random_seed(0)
    (images, labels), _ = ks.datasets.load_digits()
    path = tmp_path_factory.mktemp("digits") / "digit.png"
    images = np.stack([_normalized(image, path) for image in images])
    discriminator = ks.networks.build_discriminator(
        (28, 28, 1),
        [
            (8, 4, 2, "same"),
            (16, 4, 2, "same"),
            (32, 3, 2, "same"),
            (32, 3, 1, "valid"),
        ],
        dropout=0.1,
        momentum=0.8,
    )
    generator = ks.networks.build_generator(
        12, [(16, 7, 1, "valid"), (8, 4, 2, "same"), (1, 4, 2, "same")]
    )
    # As it is, it draws nothing but grey.
    generator.set_weights([10 * weight for weight in generator.get_weights()])
    gan = ks.SemiSupervisedGAN(discriminator, generator, seed=0)
    pixels = keras.Input((28, 28), dtype="uint8")
    _, logits = discriminator(gan.preprocess(pixels))
    reader = keras.Model(pixels, ks.losses.class_logits(logits))
    reader.compile(
        keras.optimizers.Adam(3e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    reader.fit(images, labels, epochs=8, batch_size=64, verbose=0)

    folder = tmp_path_factory.mktemp("runs") / "my run.v2"
    folder.mkdir()
    gan.save(folder / "gan.keras")
    gan.classifier().save(folder / "classifier.keras")
    metrics = {"class_names": NAMES, **IMAGE_FORMAT}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture(scope="module")
def models(run):
    """Exports the run once for all tests of the page."""
    with converted_here():
        return site.read_models(run)


@pytest.fixture(scope="module")
def exported(models, tmp_path_factory):
    """The models as files that `keras-ssgan export` wrote."""
    folder = tmp_path_factory.mktemp("exported")
    _, classifier = models["/classifier.onnx"]
    _, generator = models["/generator.onnx"]
    (folder / "digits.onnx").write_bytes(classifier)
    (folder / "digits_generator.onnx").write_bytes(generator)
    return folder / "digits.onnx"


def test_a_run_is_exported_and_described(models):
    about = json.loads(models["/model.json"][1])
    assert about == {
        "title": "my run.v2",
        "classNames": NAMES,
        "imageSize": [28, 28],
        "inkSize": [20, 20],
        "inkByMass": True,
        "lightPaper": False,
        "hasGenerator": True,
    }
    classifier = onnx.load_from_string(models["/classifier.onnx"][1])
    assert {
        prop.key: json.loads(prop.value) for prop in classifier.metadata_props
    } == {"labels": NAMES, **IMAGE_FORMAT}


def test_exported_files_are_taken_as_they_are(exported, models):
    again = site.read_models(exported)
    assert again.keys() == models.keys()
    assert again["/generator.onnx"] == models["/generator.onnx"]
    assert json.loads(again["/model.json"][1])["title"] == "digits"


@pytest.mark.parametrize(
    "known, expected",
    [
        (
            {"image_size": [8, 8], "ink_size": [8, 6], "ink_by_mass": False},
            ([8, 8], [8, 6], False, False),
        ),
        (
            {"image_size": [8, 6], "ink_size": None, "light_paper": True},
            ([8, 6], None, True, True),
        ),
        # Of earlier versions.
        (
            {"image_size": [8, 6], "mnist_format": False},
            ([8, 6], None, True, False),
        ),
        ({"mnist_format": True}, ([28, 28], [20, 20], True, False)),
        ({"mnist_format": False}, ([28, 28], None, True, False)),
        ({"image_size": [8, 6]}, ([8, 6], None, True, False)),
        ({}, ([28, 28], [20, 20], True, False)),
    ],
)
def test_an_exported_file_says_what_images_it_learnt_from(
    known, expected, exported, tmp_path
):
    model = onnx.load(exported)
    metadata = {"labels": NAMES, **known}
    del model.metadata_props[:]
    onnx.helper.set_model_props(
        model, {key: json.dumps(value) for key, value in metadata.items()}
    )
    onnx.save(model, tmp_path / "model.onnx")
    files = site.read_models(tmp_path / "model.onnx")
    about = json.loads(files["/model.json"][1])
    names = ("imageSize", "inkSize", "inkByMass", "lightPaper")
    assert tuple(about[name] for name in names) == expected


@pytest.mark.parametrize(
    "damage",
    [
        {"image_size": [28]},
        {"image_size": "28x28"},
        {"image_size": [10**6, 10**6]},
        {"ink_size": [20, 0]},
        {"ink_size": [20, 20.5]},
        {"ink_size": [29, 20]},
    ],
)
def test_sizes_that_are_none_are_refused(damage, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    metrics = {"class_names": NAMES, **IMAGE_FORMAT, **damage}
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(InputError, match="run does not say what sizes") as info:
        image_formats.reader(tmp_path / "run")
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    "names", ["digits", NAMES[1:], [*NAMES[1:], 9], [*NAMES[1:], "\x1b[2J"]]
)
def test_names_that_are_none_are_refused(names, exported, tmp_path):
    model = onnx.load(exported)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {"labels": json.dumps(names)})
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(InputError, match="does not name its 10 classes"):
        site.read_models(tmp_path / "model.onnx")


def test_a_classifier_alone_will_do(exported, tmp_path):
    shutil.copy(exported, tmp_path / "alone.onnx")
    files = site.read_models(tmp_path / "alone.onnx")
    assert "/generator.onnx" not in files
    assert not json.loads(files["/model.json"][1])["hasGenerator"]


@pytest.mark.usefixtures("convert_here")
def test_without_a_model_it_serves_those_that_come_with_the_package():
    import onnxruntime

    files = site.read_models()
    assert json.loads(files["/model.json"][1])["title"] == "mnist_100_labels"

    def run(name, x):
        session = onnxruntime.InferenceSession(files[name][1])
        return session.run(None, {session.get_inputs()[0].name: x})[0]

    gan = runs.load_gan(shipped.GENERATOR)
    latents = gan.sample_latents(8, seed=0)
    drawn = run("/generator.onnx", latents.reshape(8, -1))
    expected = gan.decode(latents).astype(int)
    np.testing.assert_allclose(drawn, expected, atol=1)
    classifier = runs.load_classifier(shipped.CLASSIFIER)
    np.testing.assert_allclose(
        run("/classifier.onnx", drawn[..., 0]),
        classifier.predict(drawn[..., 0], verbose=0),
        atol=1e-4,
    )


@pytest.mark.parametrize("content", [None, b"", b"no model", b"\x08\x07"])
def test_what_is_no_classifier_is_refused(content, tmp_path):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="model.onnx (is no|does not)") as info:
        site.read_models(path)
    assert "\n" not in str(info.value)


# === The page, in a real browser ===


@pytest.fixture(scope="module")
def page_files():
    try:
        return site.read_page()
    except InputError as error:
        pytest.skip(f"not run in a browser: {error}")


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="no browser; run pip install playwright"
    )
    names = ("chromium", "google-chrome", "chromium-browser")
    found = filter(None, map(shutil.which, names))
    with playwright.sync_playwright() as play:
        path = next(found, play.chromium.executable_path)
        if not os.path.exists(path):
            pytest.skip(
                "no browser; run apt-get install chromium, or playwright "
                "install chromium"
            )
        browser = play.chromium.launch(
            executable_path=path,
            args=[
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def demo(page_files, models, serve):
    """A server of the whole demo."""
    return serve(page_files | models)


@pytest.fixture
def open_page(browser, demo):
    """Opens the page, and watches it for errors and what it asks for."""
    opened = []

    def open(width=900, server=demo, **options):
        context = browser.new_context(
            viewport={"width": width, "height": 700}, **options
        )
        context.set_default_timeout(_PATIENCE)
        page = context.new_page()
        errors, addresses = [], []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: (
                message.type == "error" and errors.append(message.text)
            ),
        )
        page.on("request", lambda request: addresses.append(request.url))
        opened.append((context, errors, addresses, server))
        page.goto(server.url)
        _expect(page, "#answer").to_have_text("Nothing drawn yet")
        return page

    yield open
    for context, errors, addresses, server in opened:
        context.close()
        assert errors == []
        assert all(address.startswith(server.url) for address in addresses)


def _expect(page, selector):
    from playwright.sync_api import expect

    expect.set_options(timeout=_PATIENCE)
    return expect(page.locator(selector))


def _draw(page, strokes, lift=True):
    """Draws with the mouse, whose button may stay pressed."""
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    for stroke in strokes:
        points = [
            (
                box["x"] + x * box["width"] / 280,
                box["y"] + y * box["height"] / 280,
            )
            for x, y in stroke
        ]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=4)
        if lift:
            page.mouse.up()


def _settle(page, selector="#bars"):
    """Waits until the page shows the result of all that was done."""
    _expect(page, selector).to_have_attribute("aria-busy", "false")


def _pixels(page, selector):
    """What a canvas shows; uint8 `(height, width, 4)`."""
    # As text: a list of numbers takes the browser seconds to hand over.
    text, width, height = page.eval_on_selector(
        selector,
        """canvas => {
          const { width, height } = canvas;
          const context = canvas.getContext("2d");
          const { data } = context.getImageData(0, 0, width, height);
          const characters = Array.from(data, x => String.fromCharCode(x));
          return [btoa(characters.join("")), width, height];
        }""",
    )
    data = np.frombuffer(base64.b64decode(text), "uint8")
    return data.reshape(height, width, 4)


def test_drawn_digits_are_read(open_page):
    page = open_page()
    digits = {"4": _FOUR, "5": _FIVE, "7": _SEVEN, NAMES[9]: _NINE}
    for name, strokes in digits.items():
        _draw(page, strokes)
        _expect(page, ".best .name").to_have_text(name)
        _expect(page, "#answer").to_contain_text(f"{name}, ")
        page.click("#clear")
        _expect(page, "#answer").to_have_text("Nothing drawn yet")


def test_bars_are_the_probabilities_of_onnxruntime(open_page, exported):
    import onnxruntime

    page = open_page()
    _draw(page, _FOUR)
    _expect(page, ".best .name").to_have_text("4")
    _settle(page)
    seen = _pixels(page, "#seen")[None, ..., 0]
    session = onnxruntime.InferenceSession(exported)
    (expected,) = session.run(None, {"pixels": seen})[0]
    shown = page.locator(".bars .value").all_inner_texts()
    shares = [float(text.removesuffix(" %")) / 100 for text in shown]
    np.testing.assert_allclose(shares, expected, atol=6e-4)
    assert page.locator(".bars .name").all_inner_texts() == NAMES


@pytest.fixture
def open_for(open_page, page_files, models, serve):
    """Opens the page for a model that learnt from other images."""

    def open(**changes):
        content_type, about = models["/model.json"]
        about = json.dumps(json.loads(about) | changes).encode()
        files = {"/model.json": (content_type, about)}
        return open_page(server=serve(page_files | models | files))

    return open


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_drawing_is_normalized_as_an_image_of_it(open_page, scheme, tmp_path):
    _compare_with_photos(
        open_page(color_scheme=scheme), datasets.DigitFormat(), tmp_path
    )


@pytest.mark.parametrize(
    "digit_format",
    [
        datasets.DigitFormat((8, 8), (8, 6), by_mass=False),
        datasets.DigitFormat((16, 12), (9, 11), light_paper=True),
        datasets.DigitFormat((31, 33), (30, 20), by_mass=False),
    ],
)
def test_a_drawing_is_normalized_as_the_digits_of_the_run(
    digit_format, open_for, tmp_path
):
    page = open_for(
        imageSize=digit_format.image_size,
        inkSize=digit_format.ink_size,
        inkByMass=digit_format.by_mass,
        lightPaper=digit_format.light_paper,
    )
    _settle(page)
    blank = _pixels(page, "#seen")[..., 0]
    assert blank.shape == digit_format.image_size
    assert (blank == 255 * digit_format.light_paper).all()
    _compare_with_photos(page, digit_format, tmp_path)


def _compare_with_photos(page, digit_format, tmp_path):
    """What the classifier sees of drawings is what it sees of photos."""
    for strokes in (_SEVEN, _NINE, _FOUR + _DOT, _DOT):
        _draw(page, strokes)
        _expect(page, "#answer").not_to_have_text("Nothing drawn yet")
        _settle(page)
        ink = _pixels(page, "#pad")[..., 3]
        Image.fromarray(255 - ink).save(tmp_path / "pad.png")
        path = tmp_path / "pad.png"
        expected = datasets.read_digit(path, digit_format).astype(int)
        seen = _pixels(page, "#seen")[..., 0]
        assert np.ptp(expected) > 200
        assert np.abs(seen - expected).max() <= 1
        page.click("#clear")
        _expect(page, "#answer").to_have_text("Nothing drawn yet")


def test_undo_takes_the_last_stroke_and_clear_takes_all(open_page):
    page = open_page()
    _draw(page, _SEVEN)
    _expect(page, "#answer").not_to_have_text("Nothing drawn yet")
    _settle(page)
    one = _pixels(page, "#seen")
    _draw(page, _DOT)
    _settle(page)
    assert not np.array_equal(_pixels(page, "#seen"), one)
    page.click("#undo")
    _expect(page, ".best .name").to_have_text("7")
    _settle(page)
    np.testing.assert_array_equal(_pixels(page, "#seen"), one)
    _draw(page, _DOT)
    page.click("#clear")
    _expect(page, "#answer").to_have_text("Nothing drawn yet")
    assert not _pixels(page, "#pad").any()


def test_undo_and_clear_end_the_stroke_that_is_drawn(open_page):
    page = open_page()
    for earlier, way in [
        ([], "Control+z"),
        (_DOT, "Control+z"),
        (_DOT, "#undo"),
        (_DOT, "#clear"),
    ]:
        _draw(page, earlier)
        kept = _pixels(page, "#pad")
        _draw(page, _SEVEN, lift=False)
        if way == "Control+z":
            page.keyboard.press(way)
        else:
            # As by another finger.
            page.locator(way).evaluate("button => button.click()")
        if way == "#clear":
            kept = np.zeros_like(kept)
        page.mouse.move(30, 300, steps=4)
        np.testing.assert_array_equal(_pixels(page, "#pad"), kept)
        page.mouse.up()
        _draw(page, _FOUR)
        assert np.count_nonzero(_pixels(page, "#pad")) > np.count_nonzero(kept)
        page.click("#clear")


def test_a_digit_can_be_drawn_with_the_keyboard_alone(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "pad"
    outline = "box => getComputedStyle(box).outlineStyle"
    assert page.eval_on_selector(".pad", outline) == "solid"
    for key in ["ArrowUp"] * 8 + ["ArrowLeft"] * 6 + ["Space"]:
        page.keyboard.press(key)
    _expect(page, "#pen-status").to_have_text("Pen down")
    for key in ["ArrowRight"] * 12 + ["ArrowDown"] * 2:
        page.keyboard.press(key)
    for _ in range(14):
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Shift+ArrowLeft")
        page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Space")
    _expect(page, "#pen-status").to_have_text("Pen up")
    _expect(page, ".best .name").to_have_text("7")
    _settle(page)
    # Read out when it has come to rest.
    _expect(page, "#spoken").to_have_text(page.inner_text("#answer"))
    page.keyboard.press("Control+z")
    _expect(page, "#answer").to_have_text("Nothing drawn yet")
    assert page.evaluate("scrollY") == 0


def _drawn(page):
    """What the generator shows, once it has drawn."""
    _expect(page, "#drawn-reading").to_contain_text("Read by the classifier as")
    _settle(page, "#drawn")
    return _pixels(page, "#drawn").tobytes()


def test_sliders_seed_and_button_change_the_generators_picture(open_page):
    page = open_page()
    first = _drawn(page)
    page.locator("#latent-3").focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    moved = _drawn(page)
    page.click("#reset")
    assert _drawn(page) == first != moved
    page.fill("#seed", "7")
    seventh = _drawn(page)
    page.click("#another")
    assert len({first, moved, seventh, _drawn(page)}) == 4
    page.fill("#seed", "7")
    assert _drawn(page) == seventh


def test_the_generator_draws_what_onnxruntime_draws(open_page, exported):
    import onnxruntime

    page = open_page()
    page.fill("#seed", "3")
    _drawn(page)
    latents = page.evaluate(
        "import('/latents.js').then(m => [...m.normals(3, 12)])"
    )
    session = onnxruntime.InferenceSession(
        exported.with_name("digits_generator.onnx")
    )
    latents = np.array([latents], "float32")
    (expected,) = session.run(None, {"latents": latents})[0]
    drawn = _pixels(page, "#drawn")[..., :1].astype(int)
    assert np.ptp(drawn) > 50
    assert np.abs(drawn - expected).max() <= 1


def test_latents_are_normal(open_page):
    page = open_page()
    latents = np.array(
        page.evaluate("import('/latents.js').then(m => [...m.normals(3, 1e4)])")
    )
    assert abs(latents.mean()) < 0.05 and abs(latents.std() - 1) < 0.05
    assert 0.94 < (np.abs(latents) < 1.96).mean() < 0.96


def test_after_loading_neither_network_nor_server_is_needed(open_page):
    page = open_page()
    _drawn(page)
    page.context.set_offline(True)
    _draw(page, _SEVEN)
    _expect(page, ".best .name").to_have_text("7")
    before = _drawn(page)
    page.click("#another")
    assert _drawn(page) != before


@pytest.mark.parametrize("width", [320, 360, 400])
def test_it_fits_a_phone_and_a_finger_draws(open_page, width):
    page = open_page(width, has_touch=True, is_mobile=True)
    _drawn(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    box = page.locator("#pad").bounding_box()
    touch = page.context.new_cdp_session(page)

    def send(kind, *point):
        points = [
            {
                "x": box["x"] + x * box["width"] / 280,
                "y": box["y"] + y * box["height"] / 280,
            }
            for x, y in point
        ]
        touch.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points}
        )

    start, corner, end = _SEVEN[0]
    send("touchStart", start)
    for stroke in ((start, corner), (corner, end)):
        for share in np.linspace(0, 1, 8)[1:]:
            x, y = (1 - share) * np.array(stroke[0]) + share * np.array(
                stroke[1]
            )
            send("touchMove", (float(x), float(y)))
    send("touchEnd")
    _expect(page, ".best .name").to_have_text("7")
    assert page.evaluate("scrollY") == 0


@pytest.mark.parametrize("light", [False, True])
def test_a_model_of_other_images_sees_the_drawing_as_it_is(light, open_for):
    page = open_for(inkSize=None, imageSize=[8, 6], lightPaper=light)
    _settle(page)
    assert (_pixels(page, "#seen")[..., 0] == 255 * light).all()
    _draw(page, _FOUR)
    _expect(page, "#answer").not_to_have_text("Nothing drawn yet")
    _settle(page)
    ink = Image.fromarray(_pixels(page, "#pad")[..., 3].astype("float32"))
    expected = np.asarray(ink.resize((6, 8), Image.Resampling.BILINEAR))
    seen = _pixels(page, "#seen")[..., 0]
    if light:
        expected = 255 - expected
    np.testing.assert_allclose(seen, expected, atol=1)


def test_the_command_serves_until_it_is_interrupted(page_files, exported):
    # Where the tests run in the background, it would inherit to ignore Ctrl-C.
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from keras_ssgan import cli\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    arguments = ["demo", str(exported), "--port", "0", "--no-open", "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    url = process.stdout.readline().split()[0]
    port = int(url.removeprefix("http://127.0.0.1:").removesuffix("/"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/")
    assert b"<h1>keras-ssgan" in connection.getresponse().read()
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.strip() == "" and "Traceback" not in errors
