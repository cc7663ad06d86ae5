// Joins the page, the two networks, and the drawing.

import * as ort from "/vendor/ort.wasm.bundle.min.mjs";
import { normalize, reduce } from "/digit.js";
import { normals } from "/latents.js";
import { createPad } from "/pad.js";

const SLIDERS = 8;
// Latents this far out are drawn once in 16,000.
const REACH = 4;
// Milliseconds without change until the answer is read out.
const QUIET = 700;

const at = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(share < 0.9995 ? 1 : 0)} %`;

/**
 * Calls `work` soon, and never while it is at work: the last call counts. Until
 * then the element that shows its result is marked as busy.
 */
function lastOf(element, work) {
  let [busy, again] = [false, false];
  return async () => {
    again = true;
    if (busy) return;
    busy = true;
    element.ariaBusy = "true";
    try {
      while (again) {
        again = false;
        await new Promise(requestAnimationFrame);
        await work();
      }
    } catch (error) {
      fail(error);
    } finally {
      busy = false;
      element.ariaBusy = "false";
    }
  };
}

function fail(error) {
  at("problem").textContent = `Something failed: ${error.message ?? error}`;
  at("problem").hidden = false;
}

/** Shows grey or coloured bytes, row by row, on a canvas. */
function show(canvas, bytes, width, height) {
  const channels = bytes.length / (width * height);
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) {
      image.data[4 * i + c] = bytes[i * channels + Math.min(c, channels - 1)];
    }
    image.data[4 * i + 3] = 255;
  }
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** @returns {Promise<Float32Array>} The probability of each class. */
async function classify(session, bytes, width, height) {
  const pixels = new ort.Tensor("uint8", bytes, [1, height, width]);
  const { probabilities } = await session.run({ pixels });
  return probabilities.data;
}

const best = (probabilities) => probabilities.indexOf(Math.max(...probabilities));

// === You draw, it reads ===

const paper = (about) => (about.lightPaper ? 255 : 0);

/** Makes of a drawing an image like those that the model learnt from. */
function prepare(coverage, width, height, about) {
  const [rows, columns] = about.imageSize;
  const size = { width: columns, height: rows };
  const ink = about.inkSize
    ? normalize(coverage, width, height, about)
    : reduce(coverage, width, height, size);
  return ink?.map((value) => Math.abs(paper(about) - value));
}

function startReading(session, about) {
  const bars = about.classNames.map((name) => addBar(name));
  const canvas = at("pad");
  let quiet;

  function answer(text, probabilities) {
    at("answer").textContent = text;
    bars.forEach((set, i) => set(probabilities?.[i]));
    const top = probabilities && best(probabilities);
    bars.forEach((set, i) => set.row.classList.toggle("best", i === top));
    clearTimeout(quiet);
    quiet = setTimeout(() => (at("spoken").textContent = text), QUIET);
  }

  const read = lastOf(at("bars"), async () => {
    const { width, height } = canvas;
    const [rows, columns] = about.imageSize;
    const coverage = pad.coverage();
    const isBlank = !coverage.some((value) => value > 0);
    const bytes = isBlank ? null : prepare(coverage, width, height, about);
    const blank = new Uint8Array(rows * columns).fill(paper(about));
    show(at("seen"), bytes ?? blank, columns, rows);
    if (!bytes) return answer("Nothing drawn yet");
    const probabilities = await classify(session, bytes, columns, rows);
    const top = best(probabilities);
    answer(
      `${about.classNames[top]}, ${percent(probabilities[top])}`,
      probabilities,
    );
  });

  const pad = createPad(canvas, at("pen"), read, (text) => {
    at("pen-status").textContent = text;
  });
  at("undo").addEventListener("click", pad.undo);
  at("clear").addEventListener("click", pad.clear);
  at("hint").textContent = about.inkSize
    ? "Draw with mouse, finger or pen, anywhere, but not too small for the pen."
    : "Draw with mouse, finger or pen; fill the whole square.";
  at("seen-how").textContent = about.inkSize
    ? "Scaled and centred as what it learnt from."
    : "Your drawing, reduced.";
  read();
}

/** @returns Sets a probability; its `row` is the bar's element. */
function addBar(name) {
  const row = document.createElement("li");
  const [label, track, fill, value] = ["span", "div", "div", "span"].map((tag) =>
    document.createElement(tag),
  );
  label.textContent = name;
  label.className = "name";
  track.className = "track";
  fill.className = "fill";
  value.className = "value";
  track.append(fill);
  row.append(label, track, value);
  at("bars").append(row);
  const set = (probability = 0) => {
    fill.style.width = `${100 * probability}%`;
    value.textContent = percent(probability);
  };
  return Object.assign(set, { row });
}

// === It draws ===

function startDrawing(generator, classifier, about) {
  const length = generator.inputMetadata[0].shape[1];
  let latents;

  const draw = lastOf(at("drawn"), async () => {
    const tensor = new ort.Tensor("float32", latents, [1, length]);
    const { data, dims } = (await generator.run({ latents: tensor })).images;
    const [, height, width] = dims;
    show(at("drawn"), data, width, height);
    const probabilities = await classify(classifier, data, width, height);
    const top = best(probabilities);
    at("drawn-reading").textContent =
      `Read by the classifier as ${about.classNames[top]}, ` +
      percent(probabilities[top]);
  });

  const count = Math.min(SLIDERS, length);
  const sliders = Array.from({ length: count }, (_, i) => addSlider(i));

  function addSlider(i) {
    const label = document.createElement("label");
    const value = document.createElement("output");
    const slider = document.createElement("input");
    const id = `latent-${i}`;
    Object.assign(slider, { type: "range", id, step: 0.05 });
    Object.assign(slider, { min: -REACH, max: REACH });
    Object.assign(label, { htmlFor: id, textContent: `Latent ${i}` });
    value.htmlFor = id;
    const print = () => (value.textContent = latents[i].toFixed(2));
    slider.addEventListener("input", () => {
      latents[i] = slider.valueAsNumber;
      print();
      draw();
    });
    at("sliders").append(label, slider, value);
    return () => {
      slider.value = latents[i];
      print();
    };
  }

  function start() {
    latents = normals(at("seed").valueAsNumber || 0, length);
    sliders.forEach((update) => update());
    draw();
  }

  at("seed").addEventListener("input", start);
  at("reset").addEventListener("click", start);
  at("another").addEventListener("click", () => {
    at("seed").value = Math.floor(Math.random() * 100000);
    start();
  });
  at("generator").hidden = false;
  start();
}

// === All ===

async function main() {
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  const about = await (await fetch("/model.json")).json();
  at("title").textContent = about.title;
  const classifier = await ort.InferenceSession.create("/classifier.onnx");
  startReading(classifier, about);
  if (!about.hasGenerator) return;
  const generator = await ort.InferenceSession.create("/generator.onnx");
  startDrawing(generator, classifier, about);
}

main().catch(fail);
