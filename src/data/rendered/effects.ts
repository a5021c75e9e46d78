import { createRng, type Rng } from '../../core/rng.js';
import { bytesOf, type Gray, grayFrom, resizePlane } from '../../image/gray.js';

/** What paper, ink, scanner and compression do to clean letters. */
export interface Effects {
  /** Levels of 0 to 255. Ink is lighter than paper where text is light on dark. */
  readonly ink: number;
  readonly paper: number;
  /** Letters grow (above 0) or thin (below 0): coverage is multiplied by 1 + weight and shifted. */
  readonly weight: number;
  /** Black and white only, cut at this coverage; 0 is off. */
  readonly bitonal: number;
  /** Difference of the paper's level between its sides. */
  readonly slopeX: number;
  readonly slopeY: number;
  /** Depth of soft stains. */
  readonly blotch: number;
  /** Standard deviation of the blur, in pixels. */
  readonly blur: number;
  /** The image was this much smaller once; 1 is off. */
  readonly shrink: number;
  /** Standard deviation of the noise. */
  readonly noise: number;
  /** Share of pixels that are specks. */
  readonly specks: number;
  /** Step of the 8x8 cosine quantisation; 0 is off. */
  readonly jpeg: number;
}

export const noEffects: Effects = {
  ink: 0,
  paper: 255,
  weight: 0,
  bitonal: 0,
  slopeX: 0,
  slopeY: 0,
  blotch: 0,
  blur: 0,
  shrink: 1,
  noise: 0,
  specks: 0,
  jpeg: 0,
};

const normals: Float32Array = (() => {
  const rng = createRng(20);
  return Float32Array.from({ length: 1 << 16 }, () => rng.normal());
})();

type Plane = { width: number; height: number; data: Float32Array };

function compose(coverage: Gray, effects: Effects, rng: Rng): Plane {
  const { width, height } = coverage;
  const { ink, paper, weight, bitonal, slopeX, slopeY, blotch } = effects;
  // Letters through one table: weight and cut are functions of coverage alone.
  const table = Float32Array.from({ length: 256 }, (_, c) => {
    const grown = Math.min(1, Math.max(0, weight > 0 ? (c / 255) * (1 + weight) : 1 - (1 - c / 255) * (1 - weight)));
    return bitonal > 0 ? Number(grown > bitonal) : grown;
  });
  const cells = { width: Math.max(2, Math.ceil(width / 24)), height: Math.max(2, Math.ceil(height / 24)) };
  const stains =
    blotch > 0
      ? resizePlane(
          Float32Array.from({ length: cells.width * cells.height }, () => rng.next() * blotch),
          cells,
          coverage,
        )
      : undefined;
  const data = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      const shade = slopeX * (x / width - 0.5) + slopeY * (y / height - 0.5) - (stains ? stains[i] : 0);
      data[i] = paper + shade + (ink - paper) * table[coverage.data[i]];
    }
  }
  return { width, height, data };
}

/** Three-tap blur whose variance is that of a Gaussian, repeated for wider ones. */
function blur({ width, height, data }: Plane, sigma: number): void {
  const passes = Math.ceil((sigma * sigma) / 0.5);
  const side = (sigma * sigma) / passes / 2;
  const line = new Float32Array(Math.max(width, height));
  const filter = (start: number, step: number, length: number) => {
    for (let i = 0; i < length; i++) line[i] = data[start + i * step];
    for (let i = 0; i < length; i++) {
      const before = line[Math.max(0, i - 1)];
      const after = line[Math.min(length - 1, i + 1)];
      data[start + i * step] = line[i] + side * (before + after - 2 * line[i]);
    }
  };
  for (let pass = 0; pass < passes; pass++) {
    for (let y = 0; y < height; y++) filter(y * width, 1, width);
    for (let x = 0; x < width; x++) filter(x, width, height);
  }
}

const cosines = Float32Array.from({ length: 64 }, (_, i) => {
  const frequency = i >> 3;
  return Math.cos(((2 * (i & 7) + 1) * frequency * Math.PI) / 16) * (frequency === 0 ? Math.sqrt(1 / 8) : 0.5);
});

/** Multiplies each row of an 8x8 block by the cosines (or their transpose) and transposes it. */
function transformRows(from: Float32Array, to: Float32Array, inverse: boolean): void {
  for (let row = 0; row < 8; row++) {
    for (let k = 0; k < 8; k++) {
      let sum = 0;
      for (let i = 0; i < 8; i++) sum += from[row * 8 + i] * cosines[inverse ? i * 8 + k : k * 8 + i];
      to[k * 8 + row] = sum;
    }
  }
}

/** Rounds the cosine coefficients of 8x8 blocks to multiples of a step that grows with frequency, as JPEG does. */
function quantise({ width, height, data }: Plane, step: number): void {
  const block = new Float32Array(64);
  const other = new Float32Array(64);
  for (let top = 0; top < height; top += 8) {
    for (let left = 0; left < width; left += 8) {
      for (let i = 0; i < 64; i++) {
        const y = Math.min(height - 1, top + (i >> 3));
        block[i] = data[y * width + Math.min(width - 1, left + (i & 7))];
      }
      transformRows(block, other, false);
      transformRows(other, block, false);
      for (let i = 0; i < 64; i++) {
        const size = step * (1 + 0.4 * ((i >> 3) + (i & 7)));
        block[i] = Math.round(block[i] / size) * size;
      }
      transformRows(block, other, true);
      transformRows(other, block, true);
      for (let i = 0; i < 64; i++) {
        const y = top + (i >> 3);
        const x = left + (i & 7);
        if (y < height && x < width) data[y * width + x] = block[i];
      }
    }
  }
}

function addNoise({ data }: Plane, { noise, specks, ink, paper }: Effects, rng: Rng): void {
  if (noise > 0) {
    // Long runs of the table from random places: far cheaper than fresh normals, and no two samples share a run.
    let at = 0;
    for (let i = 0; i < data.length; i++, at++) {
      if ((i & 255) === 0) at = rng.nextUint32();
      data[i] += noise * normals[at & 0xffff];
    }
  }
  const count = Math.round(specks * data.length);
  for (let i = 0; i < count; i++) data[rng.integer(0, data.length)] = rng.next() < 0.7 ? ink : paper;
}

/**
 * What a scan of clean letters looks like. `coverage` is 255 where a pixel is all ink and 0 where it is all paper; the result
 * has its size.
 */
export function applyEffects(coverage: Gray, effects: Effects, rng: Rng): Gray {
  const { width, height } = coverage;
  let plane = compose(coverage, effects, rng);
  if (effects.blur > 0) blur(plane, effects.blur);
  if (effects.shrink < 1) {
    const small = {
      width: Math.max(1, Math.round(width * effects.shrink)),
      height: Math.max(1, Math.round(height * effects.shrink)),
    };
    plane = { width, height, data: resizePlane(resizePlane(plane.data, plane, small), small, plane) };
  }
  addNoise(plane, effects, rng);
  if (effects.jpeg > 0) quantise(plane, effects.jpeg);
  return grayFrom(width, height, bytesOf(plane.data));
}

/** Random effects as scans, photographs and screens have them; `pixelSize` is the font's size in pixels. */
export function sampleEffects(rng: Rng, pixelSize: number): Effects {
  const often = (probability: number, value: () => number, otherwise = 0) =>
    rng.next() < probability ? value() : otherwise;
  const dark = rng.next() < 0.08;
  const strong = rng.next() < 0.5 ? rng.next() * 20 : rng.next() * 90;
  const bright = rng.next() < 0.5 ? 255 - rng.next() * 15 : 170 + rng.next() * 85;
  const shrink = often(0.25, () => Math.min(1, Math.max(13 / pixelSize, 0.45 + rng.next() * 0.5)), 1);
  return {
    ink: dark ? bright : strong,
    paper: dark ? strong : bright,
    weight: often(0.4, () => rng.next() * 0.8 - (pixelSize < 18 ? 0 : 0.25)),
    bitonal: often(pixelSize < 18 ? 0 : 0.08, () => 0.25 + rng.next() * 0.3),
    slopeX: often(0.3, () => (rng.next() - 0.5) * 50),
    slopeY: often(0.2, () => (rng.next() - 0.5) * 30),
    blotch: often(0.15, () => rng.next() * 30),
    // One that was small is soft already.
    blur: often(0.35, () => rng.next() * Math.min(1.3, (pixelSize * shrink) / 22)),
    shrink,
    noise: often(0.5, () => rng.next() ** 2 * 20),
    specks: often(0.08, () => rng.next() ** 2 * 0.01),
    jpeg: often(0.2, () => 4 + rng.next() * 22),
  };
}
