import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRng } from '../../src/core/rng.js';
import { clipProcessorFrom } from '../../src/image/clip-processor.js';
import { chooseDrawing, type Drawing, drawPicture, type Picture } from '../../src/image/picture.js';

const plain = clipProcessorFrom({ do_normalize: false, do_rescale: false });
const still: Drawing = {
  scale: 1,
  shift: [0, 0],
  angle: 0,
  mirrored: false,
  gray: false,
  brightness: 1,
  contrast: 1,
  saturation: 1,
  ground: [255, 255, 255],
  erased: undefined,
};

/** 4 × 4: the top left quarter red, the top right clear, the lower half blue. */
const picture: Picture = {
  width: 4,
  height: 4,
  data: Uint8Array.from(
    Array.from({ length: 16 }, (_, i) => {
      if (i >= 8) return [0, 0, 255, 255];
      return i % 4 < 2 ? [255, 0, 0, 255] : [0, 255, 0, 0];
    }).flat(),
  ),
};

/** Colours by place, as numbers 0 to 255. */
function draw(changes: Partial<Drawing>, side = 4, of = picture): string[] {
  const into = new Float32Array(3 * side * side);
  drawPicture(of, { ...still, ...changes }, { side, processor: plain, into });
  const plane = side * side;
  return Array.from({ length: plane }, (_, i) => [0, 1, 2].map((c) => Math.round(into[c * plane + i])).join(' '));
}

const [red, blue, white] = ['255 0 0', '0 0 255', '255 255 255'];

test('a picture fills the frame, its ground where it is clear', () => {
  const row = [red, red, white, white];
  const lower = Array<string>(8).fill(blue);
  assert.deepEqual(draw({}), [...row, ...row, ...lower]);
  assert.equal(draw({ ground: [1, 2, 3] })[3], '1 2 3');
});

test('mirrored, turned, moved, made smaller, covered', () => {
  assert.deepEqual(draw({ mirrored: true }).slice(0, 4), [white, white, red, red]);
  // A quarter turn against the clock: what was right is at the top.
  const turned = draw({ angle: 90 });
  assert.deepEqual([turned[0], turned[3], turned[12], turned[15]], [white, blue, red, blue]);
  assert.deepEqual(draw({ shift: [0.5, 0] }).slice(0, 4), [white, white, red, red]);
  const small = draw({ scale: 0.5 }, 8);
  assert.deepEqual([small[0], small[2 * 8 + 2], small[5 * 8 + 5], small[63]], [white, red, blue, white]);
  assert.deepEqual(draw({ erased: [0, 0.5, 1, 1] }).slice(8), Array<string>(8).fill(white));
});

test('colours: without colour, brighter, contrast about the middle; normalised as the processor says', () => {
  assert.equal(draw({ gray: true })[0], '76 76 76');
  assert.equal(draw({ brightness: 0.5 })[0], '128 0 0');
  assert.equal(draw({ contrast: 0.5 })[0], '192 64 64');
  const into = new Float32Array(3);
  const white1: Picture = { width: 1, height: 1, data: Uint8Array.of(255, 255, 255, 255) };
  drawPicture(white1, still, { side: 1, processor: clipProcessorFrom({}), into });
  const want = [0, 1, 2].map(
    (c) => (1 - [0.48145466, 0.4578275, 0.40821073][c]) / [0.26862954, 0.26130258, 0.27577711][c],
  );
  into.forEach((x, c) => {
    assert.ok(Math.abs(x - want[c]) < 1e-5);
  });
});

test('a drawing is a function of its random numbers; pictures that may not be mirrored are not', () => {
  assert.deepEqual(chooseDrawing(createRng(3), {}, true), chooseDrawing(createRng(3), {}, true));
  const drawings = Array.from({ length: 200 }, (_, i) => chooseDrawing(createRng(5, i), { erase: 0.3 }, i % 2 === 0));
  assert.ok(drawings.every(({ mirrored }, i) => i % 2 === 0 || !mirrored));
  assert.ok(drawings.filter(({ mirrored }) => mirrored).length > 30);
  assert.ok(
    drawings.every(
      ({ scale, shift, angle }) => scale >= 0.75 && scale <= 1.1 && Math.abs(shift[0]) <= 0.1 && Math.abs(angle) <= 12,
    ),
  );
  const covered = drawings.filter(({ erased }) => erased).length;
  assert.ok(covered > 40 && covered < 80, `${covered} covered`);
});
