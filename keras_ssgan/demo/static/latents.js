/**
 * Draws from N(0, 1), the same for the same seed.
 *
 * @param {number} seed Integer from 0 to 2^32 - 1.
 * @returns {Float32Array}
 */
export function normals(seed, count) {
  const random = mulberry32(seed);
  // Box and Muller's; 1 - random() is never 0.
  return Float32Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - random()));
    return radius * Math.cos(2 * Math.PI * random());
  });
}

/** Tommy Ettinger's generator, uniform in [0, 1). */
function mulberry32(state) {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
