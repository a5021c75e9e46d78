import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { InputError } from '../../src/core/errors.js';
import { filled, type Pixels, pixelsFrom, type Size } from '../../src/image/pixels.js';
import { resizeCv2Linear } from '../../src/image/resize-cv2.js';
import { pillowFilters, resizePillow } from '../../src/image/resize-pillow.js';

/** A gray image from rows of levels. */
function grays(rows: readonly (readonly number[])[]): Pixels {
  const levels = rows.flat().flatMap((level) => [level, level, level]);
  return pixelsFrom(rows[0].length, rows.length, Uint8Array.from(levels));
}

const resizers: Record<string, (image: Pixels, size: Size) => Pixels> = { cv2: resizeCv2Linear };
for (const filter of pillowFilters) resizers[`Pillow ${filter}`] = (image, size) => resizePillow(image, size, filter);

const side = fc.integer({ min: 1, max: 24 });
const sizes = fc.record({ width: side, height: side });
const colours = fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255));

for (const [name, resize] of Object.entries(resizers)) {
  test(`${name}: one colour stays that colour at any size`, () => {
    // OpenCV cuts both terms of a row: an image of one colour may come out 1 lower.
    const slack = name === 'cv2' ? 1 : 0;
    fc.assert(
      fc.property(sizes, sizes, colours, (from, to, colour) => {
        const { width, height, data } = resize(filled(from, colour), to);
        assert.deepEqual([width, height, data.length], [to.width, to.height, to.width * to.height * 3]);
        data.forEach((level, i) => {
          assert.ok(level <= colour[i % 3] && level >= colour[i % 3] - slack, `${level} for ${colour[i % 3]}`);
        });
      }),
    );
  });

  test(`${name}: the same size is a copy that shares nothing`, () => {
    const image = grays([[1, 2, 3]]);
    const copy = resize(image, { width: 3, height: 1 });
    assert.deepEqual(copy, image);
    copy.data[0] = 99;
    assert.equal(image.data[0], 1);
  });

  test(`${name}: sides that are no whole number above 0 are refused`, () => {
    for (const width of [0, -1, 1.5, Number.NaN]) {
      assert.throws(() => resize(grays([[1]]), { width, height: 1 }), InputError);
    }
  });
}
