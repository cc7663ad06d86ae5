"""A classifier as ONNX, behind HTTP; to answer takes onnxruntime alone.

    python examples/export_and_serve.py --keep-serving
    curl -d '[[[0, 90, 0], [0, 200, 0], [0, 90, 0]]]' http://127.0.0.1:8000

About two minutes on a CPU; takes the extras tensorflow and export. A
request is a list of grey images, 0 to 255. Only this machine is answered.
"""

import argparse
import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer

import numpy as np
import onnxruntime

import keras_ssgan as ks


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        pixels = {"pixels": np.array(json.loads(body), "uint8")}
        (rows,) = self.server.session.run(None, pixels)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(rows.tolist()).encode())


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--keep-serving", action="store_true")
    arguments = parser.parse_args(argv)
    (x_train, y), (x_test, y_test) = ks.datasets.load_digits()
    y = ks.datasets.hide_labels(y, labels=0.2, seed=0)
    gan = ks.SemiSupervisedGAN.from_preset("compact", seed=0)
    gan.compile()
    gan.fit(x_train, y, batch_size=64, epochs=arguments.epochs)
    # Those of batch normalisation, for the averaged weights.
    gan.update_statistics(x_train)
    ks.export_classifier(gan, "served", formats="onnx", overwrite=True)

    with ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler) as server:
        server.session = onnxruntime.InferenceSession("served.onnx")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        body = json.dumps(x_test.tolist()).encode()
        answer = np.array(json.load(urllib.request.urlopen(url, body)))
        right = np.mean(answer.argmax(axis=-1) == y_test)
        print(f"{right:.2%} of the test images are right, by {url}")
        threading.Event().wait(None if arguments.keep_serving else 0)
        server.shutdown()
    return answer, gan.predict(x_test, verbose=0)


if __name__ == "__main__":
    main()
