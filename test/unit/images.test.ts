import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { deflateSync } from 'node:zlib';
import sharp from 'sharp';
import { InputError } from '../../src/core/errors.js';
import { createRng } from '../../src/core/rng.js';
import { readImageHeader } from '../../src/image/image-header.js';
import type { Look } from '../../src/image/pixels.js';
import { decodeImage, decodePage, decodeToRead, type ImageInput, type ImageLimits } from '../../src/node/images.js';
import { crc32 } from '../../src/weights/zip.js';
import { assertAllclose } from '../helpers/allclose.js';
import { scratchDir } from '../helpers/checkpoints.js';
import { fixtureBytes, fixtureJson } from '../helpers/fixtures.js';

const scratch = scratchDir();
const fixture = (name: string) => fixtureBytes(`image-decode/${name}`);
const { files } = fixtureJson<{ files: Record<string, unknown> }>('image-decode/expected.json');
const names = Object.keys(files);

async function assertRefused(image: ImageInput, message: RegExp, limits?: ImageLimits): Promise<void> {
  await assert.rejects(decodeImage(image, limits), (error) => {
    assert.ok(error instanceof InputError, String((error as Error).stack));
    assert.match(error.message, message);
    return true;
  });
}

/** Big-endian words of 4 bytes and text, in a row. */
const bytesOf = (...parts: (string | number | Uint8Array)[]) =>
  Buffer.concat(
    parts.map((part) => {
      if (typeof part !== 'number') return Buffer.from(part as string, 'latin1');
      const word = Buffer.alloc(4);
      word.writeUInt32BE(part);
      return word;
    }),
  );

const pngSignature = '\x89PNG\r\n\x1a\n';
const chunk = (kind: string, data: Uint8Array) => {
  const named = bytesOf(kind, data);
  return bytesOf(data.length, named, crc32(named));
};
const pngHeader = (width: number, height: number) =>
  bytesOf(pngSignature, chunk('IHDR', bytesOf(width, height, '\x08\x02\x00\x00\x00')));
const png = (width: number, height: number, rows: Uint8Array) =>
  bytesOf(pngHeader(width, height), chunk('IDAT', deflateSync(rows)), chunk('IEND', new Uint8Array()));

const little = (bits: 16 | 32, ...values: number[]) => {
  const out = Buffer.alloc((values.length * bits) / 8);
  values.forEach((value, i) => void (bits === 16 ? out.writeUInt16LE(value, 2 * i) : out.writeUInt32LE(value, 4 * i)));
  return out;
};
/** A TIFF of one directory with long entries. */
const tiff = (entries: [tag: number, value: number][], next = 0) =>
  bytesOf(
    'II*\0',
    little(32, 8),
    little(16, entries.length),
    ...entries.map(([tag, value]) => bytesOf(little(16, tag, 4), little(32, 1, value))),
    little(32, next),
  );

/** A GIF of one frame of 20 × 20 whose data are `codes`, in one block. */
const gifOf = (codes: readonly number[]) =>
  bytesOf(
    'GIF89a',
    little(16, 20, 20),
    '\x80\0\0',
    Uint8Array.of(10, 20, 30, 200, 210, 220),
    ',',
    little(16, 0, 0, 20, 20),
    '\0',
    Uint8Array.of(2, codes.length, ...codes, 0),
    ';',
  );

test('a TIFF of signed bytes, or of floats as colours, is refused, not cut to what bytes hold', async () => {
  const [wide, high, bits, photometric, format] = [256, 257, 258, 262, 339];
  const facts: [number, number][] = [
    [wide, 1],
    [high, 1],
  ];
  await assertRefused(
    tiff([...facts, [bits, 8], [photometric, 1], [format, 2]]),
    /expected unsigned samples, got signed bytes/,
  );
  await assertRefused(
    tiff([...facts, [bits, 32], [photometric, 2], [format, 3]]),
    /expected unsigned samples, got RGB of floats/,
  );
});

test('a GIF whose pixels end before its frame is full is refused, not filled up with black', async () => {
  const whole = await sharp({ create: { width: 20, height: 20, channels: 3, background: '#123' } })
    .gif()
    .toBuffer();
  for (const look of ['stored', 'seen'] as const) {
    assert.equal((await decodePage(whole, {}, 0, look)).pixels.width, 20);
    for (const [why, codes] of Object.entries({
      // Three bits each: clear (4), one pixel (1), end (5); clear and a code that is not there yet (7); nothing.
      'an end after one pixel': [0b01001100, 0b1],
      'a code of nothing': [0b11100100],
      'a clear code alone': [0b100],
    })) {
      await assert.rejects(
        decodePage(gifOf(codes), {}, 0, look),
        { name: 'InputError', message: /expected 400 pixels, got [01]: the gif is cut off/ },
        `${why}, ${look}`,
      );
    }
  }
});

test('what is not an image says what it is instead', async () => {
  for (const [bytes, message] of [
    ['', /is an empty file/],
    ['hello', /expected png, jpeg, webp, gif, tiff, got something that is not an image/],
    ['%PDF-1.7', /got a PDF/],
    ['<svg xmlns="http://www.w3.org/2000/svg"/>', /got an SVG/],
    ['<?xml version="1.0"?><svg/>', /got an SVG or XML file/],
    ['<!DOCTYPE html>', /got an HTML page/],
    ['BM      ', /got a BMP/],
    ['\0\0\0\x1cftypheic', /got a HEIF or AVIF/],
    ['PK\x03\x04', /got a ZIP archive/],
    ['version https://git-lfs.github.com/spec/v1', /got a Git LFS pointer/],
    ['\x89PNG\r\n', /not an image/],
    ['\xff\xd8', /not an image/],
    ['\xff\xd8\xff', /ends inside its header/],
    [pngSignature, /ends inside its header/],
    ['GIF89a', /ends inside its header/],
    ['RIFF\0\0\0\0WEBP', /ends inside its header/],
    ['RIFF\0\0\0\0WAVE', /not an image/],
    ['II*\0', /ends inside its header/],
  ] as const) {
    await assertRefused(Buffer.from(bytes, 'latin1'), message);
  }
});

test('paths: missing, a directory, a large file, and the name in every message', async () => {
  const dir = join(scratch, 'dir.png');
  mkdirSync(dir);
  await assertRefused(join(scratch, 'none.png'), /none.png: cannot be read/);
  await assertRefused(dir, /dir.png: expected an image file, got a directory/);
  await assertRefused('/dev/null', /null: expected an image file, got a device/);
  const path = join(scratch, 'rgb.png');
  writeFileSync(path, fixture('rgb.png'));
  await assertRefused(path, /rgb.png: has \d+ bytes, at most 100 are allowed/, { maxBytes: 100 });
  await assertRefused(fixture('rgb.png'), /image: has \d+ bytes, at most 100 are allowed/, { maxBytes: 100 });
  writeFileSync(path, 'text');
  await assertRefused(path, /rgb.png: expected png, jpeg/);
});

test('pixels are checked too', async () => {
  const data = new Uint8Array(12);
  assert.equal((await decodeImage({ width: 2, height: 2, channels: 3, data })).data, data);
  await assertRefused({ width: 2, height: 3, channels: 3, data }, /12/);
  await assertRefused({ width: 0, height: 0, channels: 3, data: new Uint8Array() }, /at least 1 pixel/);
});

test('bombs are refused by their headers, in no time and no memory', async () => {
  const started = performance.now();
  const before = process.memoryUsage().rss;
  const huge = 65535;
  const wide = little(16, huge, huge);
  const webp = (kind: string, data: Uint8Array) =>
    bytesOf('RIFF', little(32, data.length + 12), 'WEBP', kind, little(32, data.length), data);
  for (const [what, bytes] of Object.entries({
    png: pngHeader(60_000, 60_000),
    'png of 2^31': pngHeader(2 ** 31 - 1, 2 ** 31 - 1),
    gif: bytesOf('GIF89a', wide, '\0\0\0', ',', little(16, 0, 0, huge, huge), '\0\x02\x02\x4c\x01\0;'),
    'gif whose frame is larger than its canvas': bytesOf(
      'GIF89a',
      little(16, 1, 1),
      '\0\0\0',
      ',',
      little(16, 0, 0, huge, huge),
      '\0\x02\x02\x4c\x01\0;',
    ),
    jpeg: bytesOf('\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01'),
    webp: webp('VP8X', bytesOf(0, '\xff\xff\xff\xff\xff\xff')),
    'webp without loss': webp('VP8L', bytesOf('/\xff\xff\xff\x0f')),
    tiff: tiff([
      [256, 100_000],
      [257, 100_000],
    ]),
    'tiff of large tiles': tiff([
      [256, 10],
      [257, 10],
      [322, 65_536],
      [323, 65_536],
    ]),
  })) {
    await assertRefused(bytes, /is \d+×\d+ pixels, at most 200000000 are allowed/).catch((error) => {
      throw new Error(`${what}: ${String(error)}`);
    });
  }
  assert.ok(performance.now() - started < 2000);
  assert.ok(process.memoryUsage().rss - before < 256 << 20);
});

test('the limit on pixels counts exactly', async () => {
  assert.equal((await decodeImage(fixture('rgb.png'), { maxPixels: 23 * 17 })).width, 23);
  await assertRefused(fixture('rgb.png'), /is 23×17 pixels, at most 390 are allowed/, { maxPixels: 23 * 17 - 1 });
});

test('a limit of undefined is the default', async () => {
  await assertRefused(pngHeader(60_000, 60_000), /at most 200000000/, {
    maxPixels: undefined,
  } as unknown as ImageLimits);
});

test('data that unpacks to far more than the picture ends early', async () => {
  const rows = Buffer.alloc(64 << 20);
  const bytes = png(4, 4, rows);
  assert.ok(bytes.length < 100_000);
  const before = process.memoryUsage().rss;
  await decodeImage(bytes).catch((error) => assert.ok(error instanceof InputError));
  assert.ok(process.memoryUsage().rss - before < 48 << 20);
});

test('frames and pages are counted and limited; the first is read', async () => {
  for (const name of ['animated.gif', 'animated.webp', 'pages.tif']) {
    assert.equal((await decodeImage(fixture(name), { maxFrames: 3 })).height, 17, name);
    await assertRefused(fixture(name), /has 3 frames, at most 2 are allowed/, { maxFrames: 2 });
    const { warnings } = await decodeToRead(fixture(name), undefined, 'stored');
    const said = name.startsWith('animated') ? 'only the first of its 3 frames was read' : 'only page 1 of 3 was read';
    assert.deepEqual([warnings.length, warnings[0].split(';')[0]], [1, said], name);
  }
  const page = tiff(
    [
      [256, 4],
      [257, 4],
    ],
    8,
  );
  await assertRefused(page, /^image: the pages of the tiff follow each other in a circle/);
});

test('a cut file is refused, or the same as the whole', async () => {
  for (const name of names) {
    const bytes = fixture(name);
    const whole = await decodeImage(bytes);
    for (const length of [
      0,
      1,
      3,
      8,
      20,
      40,
      ...[0.2, 0.5, 0.8, 0.95].map((part) => Math.floor(part * bytes.length)),
      bytes.length - 1,
    ]) {
      const cut = await decodeImage(bytes.subarray(0, length)).catch((error: unknown) => error);
      if (cut instanceof InputError) continue;
      assert.ok(!(cut instanceof Error), `${name} to ${length}: ${String(cut)}`);
      assert.deepEqual(cut, whole, `${name} to ${length} of ${bytes.length} bytes`);
    }
  }
});

test('tiff: colours that cannot be known are refused, in either look', async () => {
  const cut = fixture('palette-lzw.tif').subarray(0, -1);
  const yCbCr = tiff([
    [256, 1],
    [257, 1],
    [258, 8],
    [262, 6],
  ]);
  const withoutMap = tiff([
    [256, 1],
    [257, 1],
    [258, 4],
    [262, 3],
  ]);
  for (const look of ['stored', 'seen'] as const) {
    const refuses = (bytes: Uint8Array, message: RegExp) =>
      assert.rejects(decodeImage(bytes, {}, 0, look), { name: 'InputError', message });
    await refuses(cut, /^image: cannot be decoded: expected a colour map of 256 colours, got a part of it/);
    await refuses(withoutMap, /expected a colour map of 16 colours, got none/);
    await refuses(yCbCr, /expected YCbCr compressed as JPEG, got compression 1/);
  }
});

test('damaged files give a picture within the limits or an InputError', async () => {
  const rng = createRng(31);
  const limits = { maxPixels: 1e6, timeout: 5 };
  let refused = 0;
  for (let round = 0; round < 1500; round++) {
    const name = names[rng.integer(0, names.length)];
    const bytes = Uint8Array.from(fixture(name));
    for (let k = rng.integer(1, 6); k > 0; k--) bytes[rng.integer(0, bytes.length)] = rng.integer(0, 256);
    try {
      const { width, height, data } = await decodeImage(bytes, limits);
      assert.ok(width * height <= limits.maxPixels, `${name}, round ${round}`);
      assert.equal(data.length, 3 * width * height);
    } catch (error) {
      assert.ok(error instanceof InputError, `${name}, round ${round}: ${String((error as Error).stack)}`);
      refused++;
    }
  }
  assert.ok(refused > 300 && refused < 1400, `${refused} refused`);
});

test('headers of random bytes end', () => {
  const rng = createRng(32);
  const starts = [pngSignature, '\xff\xd8\xff', 'GIF89a', 'II*\0', 'MM\0*', 'RIFF\0\0\0\0WEBPVP8X'];
  for (let round = 0; round < 20_000; round++) {
    const noise = Uint8Array.from({ length: rng.integer(0, 200) }, () => (rng.next() < 0.4 ? 0 : rng.integer(0, 256)));
    try {
      const { width, height, frames } = readImageHeader(bytesOf(starts[round % starts.length], noise), 'x');
      assert.ok(width > 0 && height > 0 && frames > 0);
    } catch (error) {
      assert.ok(error instanceof InputError, String((error as Error).stack));
    }
  }
});

const raw = (width: number, height: number, channels: 3 | 4, data: readonly number[]) =>
  sharp(Uint8Array.from(data), { raw: { width, height, channels } });

test('as people see it: turned as EXIF says', async () => {
  const pixels = [255, 0, 0, 0, 255, 0];
  const turned = await raw(2, 1, 3, pixels).withMetadata({ orientation: 6 }).png().toBuffer();
  assert.deepEqual(await decodeImage(turned), { width: 2, height: 1, channels: 3, data: Uint8Array.from(pixels) });
  const seen = await decodeImage(turned, {}, 0, 'seen');
  assert.deepEqual(seen, { width: 1, height: 2, channels: 3, data: Uint8Array.from(pixels) });
});

test('as people see it: what is transparent stands on white, a half of it half', async () => {
  const image = await raw(3, 1, 4, [0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0, 127]).png().toBuffer();
  assert.deepEqual([...(await decodeImage(image)).data], Array(9).fill(0));
  const seen = await decodeImage(image, {}, 0, 'seen');
  assert.deepEqual([...seen.data], [255, 255, 255, 0, 0, 0, 128, 128, 128]);
});

test('as people see it: 16 bits are scaled, not clipped', async () => {
  const row = Uint8Array.from([0, 0, 0, 0x40, 0x40, 0x80, 0x80, 0xff, 0xff]);
  const header = chunk('IHDR', bytesOf(4, 1, '\x10\x00\x00\x00\x00'));
  const image = bytesOf(pngSignature, header, chunk('IDAT', deflateSync(row)), chunk('IEND', new Uint8Array()));
  const first = (data: Uint8Array) => [...data].filter((_, i) => i % 3 === 0);
  assert.deepEqual(first((await decodeImage(image)).data), [0, 255, 255, 255]);
  assert.deepEqual(first((await decodeImage(image, {}, 0, 'seen')).data), [0, 0x40, 0x80, 255]);
});

test('as people see it: colours are those of the embedded profile', async () => {
  // The numbers of a wider gamut, and what they are in sRGB as littlecms converts them.
  const [inP3, inSrgb] = [
    [198, 174, 150],
    [204, 174, 148],
  ];
  for (const name of ['icc-p3.jpg', 'icc-p3.png', 'icc-p3.tif', 'icc-p3.webp']) {
    const last = async (look: Look) => (await decodeImage(fixture(name), {}, 0, look)).data.subarray(3 * 22, 3 * 23);
    const within = { rtol: 0, atol: name.endsWith('jpg') ? 4 : 1 };
    assertAllclose(await last('stored'), inP3, within, name);
    assertAllclose(await last('seen'), inSrgb, within, name);
  }
});
