import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32, deflateSync, inflateSync } from 'node:zlib';
import sharp from 'sharp';
import { createRng } from '../../src/core/rng.js';
import { decodePng, type PngTools } from '../../src/image/decode-png.js';

const tools: PngTools = {
  inflate: (stream, size) => {
    const contents = inflateSync(stream);
    return contents.length === size ? contents : undefined;
  },
  crc32,
};

const rng = createRng(7);
const randomBytes = (length: number) => Uint8Array.from({ length }, () => rng.integer(0, 256));

const word = (value: number) => {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(value);
  return out;
};
function chunk(kind: string, content: Uint8Array = new Uint8Array()): Buffer {
  const named = Buffer.concat([Buffer.from(kind, 'latin1'), content]);
  return Buffer.concat([word(content.length), named, word(crc32(named))]);
}

/** By colour type: samples a pixel. */
const channels: Record<number, number> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };

interface Kind {
  readonly width: number;
  readonly height: number;
  readonly colour: number;
  readonly depth: number;
  readonly interlace?: number;
}

const headerOf = ({ width, height, colour, depth, interlace = 0 }: Kind) =>
  chunk('IHDR', Buffer.concat([word(width), word(height), Buffer.from([depth, colour, 0, 0, interlace])]));
const rowBytesOf = ({ width, colour, depth }: Kind) => Math.ceil((width * depth * channels[colour]) / 8);

/** Rows of any bytes: every filter undoes to some picture. */
function randomRows(kind: Kind): Uint8Array {
  const rowBytes = rowBytesOf(kind);
  const rows = randomBytes(kind.height * (rowBytes + 1));
  for (let y = 0; y < kind.height; y++) rows[y * (rowBytes + 1)] = y % 5;
  return rows;
}

const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
function pngOf(kind: Kind, rows: Uint8Array, before: readonly Buffer[] = [], pieces = 1): Buffer {
  const stream = deflateSync(rows);
  const step = Math.ceil(stream.length / pieces);
  const data = Array.from({ length: pieces }, (_, i) => chunk('IDAT', stream.subarray(i * step, (i + 1) * step)));
  return Buffer.concat([signature, headerOf(kind), ...before, ...data, chunk('IEND')]);
}

const kinds = [0, 2, 3, 4, 6].flatMap((colour) =>
  (colour === 0 || colour === 3 ? [1, 2, 4, 8] : [8]).map((depth) => ({ colour, depth })),
);

test('a PNG of every kind, filter and size is what libspng makes of it', async () => {
  for (const { colour, depth } of kinds) {
    for (const [width, height] of [
      [1, 1],
      [7, 5],
      [1, 12],
      [33, 1],
      [64, 21],
    ]) {
      const kind = { width, height, colour, depth };
      const before = [
        chunk('tEXt', Buffer.from('Title\0x')),
        ...(colour === 3 ? [chunk('PLTE', randomBytes(3 * 2 ** depth)), chunk('tRNS', randomBytes(2))] : []),
      ];
      const file = pngOf(kind, randomRows(kind), before, 1 + rng.integer(0, 3));
      const pixels = decodePng(file, tools);
      const { data } = await sharp(file)
        .toColourspace('srgb')
        .removeAlpha()
        .raw()
        .toBuffer({ resolveWithObject: true });
      assert.deepEqual(pixels, { width, height, channels: 3, data: new Uint8Array(data) }, JSON.stringify(kind));
    }
  }
});

test('what is unusual or broken is left to a complete decoder', () => {
  const kind = { width: 6, height: 5, colour: 2, depth: 8 };
  const rows = randomRows(kind);
  const whole = pngOf(kind, rows);
  assert.ok(decodePng(whole, tools));
  assert.ok(decodePng(Buffer.concat([whole, Buffer.from('more')]), tools), 'what comes after the end does not count');
  const lastFilter = rows.slice();
  lastFilter[4 * (rowBytesOf(kind) + 1)] = 5;
  const palette = { ...kind, colour: 3 };
  const end = whole.length - 12;
  for (const [why, file] of Object.entries({
    'cut off before its end': whole.subarray(0, end),
    'cut off in its end': whole.subarray(0, whole.length - 1),
    'a wrong checksum': Buffer.from(whole.map((byte, i) => (i === end - 1 ? byte ^ 1 : byte))),
    'a length beyond the file': Buffer.concat([whole.subarray(0, 33), word(0xffffffff), whole.subarray(37)]),
    'a filter of no name': pngOf(kind, lastFilter),
    'a row too few': pngOf(kind, rows.subarray(0, rows.length - 1)),
    'a row too many': pngOf({ ...kind, height: 4 }, rows),
    interlaced: pngOf({ ...kind, interlace: 1 }, rows),
    '16 bits': pngOf({ ...kind, depth: 16 }, randomRows({ ...kind, depth: 16 })),
    'no palette': pngOf(palette, randomRows(palette)),
    'a number past the palette': pngOf(palette, randomRows(palette), [chunk('PLTE', randomBytes(3))]),
    'a palette of four bytes': pngOf(palette, new Uint8Array(5 * 7), [chunk('PLTE', randomBytes(4))]),
    'a palette of 257 colours': pngOf(palette, randomRows(palette), [chunk('PLTE', randomBytes(771))]),
    'a chunk without a name': pngOf(kind, rows, [chunk('a1\x80!')]),
    'two palettes': pngOf(palette, randomRows(palette), [
      chunk('PLTE', randomBytes(768)),
      chunk('PLTE', randomBytes(768)),
    ]),
    'two headers': pngOf(kind, rows, [headerOf(kind)]),
    'a chunk that must be known': pngOf(kind, rows, [chunk('ABCD')]),
    animated: pngOf(kind, rows, [chunk('acTL', Buffer.alloc(8))]),
    'no pixels': Buffer.concat([signature, headerOf(kind), chunk('IEND')]),
  })) {
    assert.equal(decodePng(file, tools), undefined, why);
  }
});
