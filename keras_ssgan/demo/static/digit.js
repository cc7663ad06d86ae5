// Brings a drawing to the size and place of the digits that a model learnt from,
// number for number as `keras_ssgan/datasets/photos.py` does with an image of it.

// What has less than this share of the strongest ink is paper.
const LEAST_INK = 0.2;
// What is fainter than this, of 1, is no ink.
const LEAST_CONTRAST = 16 / 255;
// A stroke has more than this share of the strongest ink. Half of it is what its
// edges have where the box is centred: rounding is not to decide about them.
const STRONG = 0.499;
// Share of the ink on each side that the box may miss: specks lie there.
const SPECKS = 0.002;

/**
 * @param {Float32Array} coverage width x height, row by row; 0 is paper, 1 ink.
 * @param {{imageSize: number[], inkSize: number[], inkByMass: boolean}} format
 *   How digits lie: height and width of the image and of the box of the ink, and
 *   what is in the middle, the centre of mass or of the box.
 * @returns {?Uint8Array} Of that size, 0 is paper and 255 ink; null without ink.
 */
export function normalize(coverage, width, height, format) {
  const strongest = largest(coverage);
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
  const [inkHeight, inkWidth] = format.inkSize;
  const [rows, columns] = format.imageSize;
  const scale =
    Math.max(bottom - top, right - left) / Math.max(inkHeight, inkWidth);
  const down = Math.max(scale, (bottom - top) / inkHeight);
  const across = Math.max(scale, (right - left) / inkWidth);
  const { inkByMass } = format;
  const x = frame(inside.columns, left, right, across, columns, inkByMass);
  const y = frame(inside.rows, top, bottom, down, rows, inkByMass);
  return stretch(
    resample(
      ink,
      width,
      weights(columns, x, across),
      weights(rows, y, down),
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

// Not by arguments of one call, of which there may not be as many as pixels.
const largest = (values) => values.reduce((a, b) => Math.max(a, b), 0);

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

/** Where the image begins, moved where it would cut ink off. */
function frame(profile, first, last, scale, count, byMass) {
  const moments = profile.map((ink, i) => ink * (i + 0.5));
  const center = byMass ? sum(moments) / sum(profile) : (first + last) / 2;
  // MNIST's centre of mass is half a pixel past the middle.
  const begin = center - (count / 2 + (byMass ? 0.5 : 0)) * scale;
  return Math.min(Math.max(begin, last - count * scale), first);
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
  const strongest = largest(ink);
  const strong = ink.filter((value) => value > strongest * STRONG).sort();
  const middle = (strong.length - 1) / 2;
  const white = (strong[Math.floor(middle)] + strong[Math.ceil(middle)]) / 2;
  return toBytes(ink.map((value) => value / white));
}

const toBytes = (ink) =>
  Uint8Array.from(ink, (value) => Math.round(Math.min(value, 1) * 255));
