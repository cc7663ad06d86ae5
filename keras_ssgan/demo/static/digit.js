// Brings a drawing to the size and place of MNIST's digits, number for number
// as `keras_ssgan/datasets/photos.py` does with an image of it.

const INK_SIZE = 20;
const IMAGE_SIZE = 28;
// The pixel, from 0, where the images of MNIST have their centre of mass.
const CENTER = 14;
// What has less than this share of the strongest ink is paper.
const LEAST_INK = 0.2;
// What is fainter than this, of 1, is no ink.
const LEAST_CONTRAST = 16 / 255;
// Share of the ink on each side that the box may miss: specks lie there.
const SPECKS = 0.002;

/**
 * @param {Float32Array} coverage width x height, row by row; 0 is paper, 1 ink.
 * @returns {?Uint8Array} 28 x 28, 0 is paper and 255 ink; null without ink.
 */
export function normalize(coverage, width, height) {
  const strongest = coverage.reduce((a, b) => Math.max(a, b), 0);
  if (strongest < LEAST_CONTRAST) return null;
  const ink = coverage.map((value) => {
    const share = value / strongest;
    return share < LEAST_INK ? 0 : share;
  });

  const whole = profiles(ink, width, height);
  const [left, right] = extent(whole.columns);
  const [top, bottom] = extent(whole.rows);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const inside = y >= top && y < bottom && x >= left && x < right;
      if (!inside) ink[y * width + x] = 0;
    }
  }
  const inside = profiles(ink, width, height);
  const scale = Math.max(bottom - top, right - left) / INK_SIZE;
  const across = frame(inside.columns, left, right, scale);
  const down = frame(inside.rows, top, bottom, scale);
  return stretch(
    resample(
      ink,
      width,
      weights(IMAGE_SIZE, across, scale),
      weights(IMAGE_SIZE, down, scale),
    ),
  );
}

/**
 * Reduces a drawing as it lies, for a model that learnt from other images.
 *
 * @param {Float32Array} coverage As in `normalize`.
 * @param {{width: number, height: number}} size Of the result.
 * @returns {Uint8Array} Of that size, 0 is paper and 255 ink.
 */
export function reduce(coverage, width, height, size) {
  const across = weights(size.width, 0, width / size.width);
  const down = weights(size.height, 0, height / size.height);
  return toBytes(
    resample(coverage, width, within(across, width), within(down, height)),
  );
}

/** The ink in each row and in each column. */
function profiles(ink, width, height) {
  const rows = new Float64Array(height);
  const columns = new Float64Array(width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      rows[y] += ink[y * width + x];
      columns[x] += ink[y * width + x];
    }
  }
  return { rows, columns };
}

const sum = (values) => values.reduce((a, b) => a + b, 0);

/** First and one past the last index of ink, specks aside. */
function extent(profile) {
  const total = sum(profile);
  let [first, last, passed] = [-1, -1, 0];
  for (let i = 0; last < 0; i++) {
    passed += profile[i] / total;
    if (first < 0 && passed >= SPECKS) first = i;
    if (passed >= 1 - SPECKS) last = i;
  }
  return [first, last + 1];
}

/** Where MNIST's frame begins, moved where it would cut ink off. */
function frame(profile, first, last, scale) {
  const moments = profile.map((ink, i) => ink * (i + 0.5));
  const begin = sum(moments) / sum(profile) - (CENTER + 0.5) * scale;
  return Math.min(Math.max(begin, last - IMAGE_SIZE * scale), first);
}

/**
 * Resizes with weights for the columns and the rows; all around is paper.
 *
 * @returns {Float64Array} As many columns and rows as there are weights.
 */
function resample(pixels, width, across, down) {
  const height = pixels.length / width;
  const rows = new Float64Array(across.length * height);
  for (let y = 0; y < height; y++) {
    across.forEach((taps, x) => {
      for (const [source, weight] of taps) {
        if (source < 0 || source >= width) continue;
        rows[y * across.length + x] += weight * pixels[y * width + source];
      }
    });
  }
  const result = new Float64Array(across.length * down.length);
  down.forEach((taps, y) => {
    for (const [source, weight] of taps) {
      if (source < 0 || source >= height) continue;
      for (let x = 0; x < across.length; x++) {
        result[y * across.length + x] +=
          weight * rows[source * across.length + x];
      }
    }
  });
  return result;
}

/**
 * A triangle filter, as Pillow's BILINEAR.
 *
 * @returns For each pixel of the result those that it is made of, weighted.
 */
function weights(count, begin, scale) {
  const support = Math.max(scale, 1);
  return Array.from({ length: count }, (_, i) => {
    const center = begin + (i + 0.5) * scale;
    const first = Math.floor(center - support + 0.5);
    const last = Math.floor(center + support + 0.5);
    const taps = [];
    for (let source = first; source < last; source++) {
      const distance = Math.abs(source + 0.5 - center) / support;
      taps.push([source, Math.max(1 - distance, 0)]);
    }
    return scaled(taps);
  });
}

/** Weights for an image around which there is nothing. */
const within = (weights, size) =>
  weights.map((taps) =>
    scaled(taps.filter(([source]) => source >= 0 && source < size)),
  );

function scaled(taps) {
  const total = sum(taps.map(([, weight]) => weight));
  return taps.map(([source, weight]) => [source, weight / total]);
}

/** Makes the stroke white, for a thin one gets faint when it is reduced. */
function stretch(ink) {
  const strongest = Math.max(...ink);
  const strong = ink.filter((value) => value > strongest / 2).sort();
  const middle = (strong.length - 1) / 2;
  const white = (strong[Math.floor(middle)] + strong[Math.ceil(middle)]) / 2;
  return toBytes(ink.map((value) => value / white));
}

const toBytes = (ink) =>
  Uint8Array.from(ink, (value) => Math.round(Math.min(value, 1) * 255));
