import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import { labelNumber, parsePairs } from '../../src/data/pairs.js';
import { shuffledSamples } from '../../src/data/shard-order.js';
import { readTar } from '../../src/data/tar.js';
import { expandBraces, readWebDataset, type StreamedPair } from '../../src/data/web-dataset.js';
import { makeTar, paxRecord, type TarEntry } from '../helpers/tar.js';

const fails = (make: () => unknown, message: RegExp) =>
  assert.throws(make, (error: Error) => error instanceof InputError && message.test(error.message));

test('rows of JSON lines: one or several pictures and texts, a label, and what is wrong by line', () => {
  const lines = [
    '{"image": "a.png", "text": "an apple"}',
    '',
    '{"image": ["b.png", "c.png"], "caption": ["a pear", "pear"], "label": "pear", "flip": true}',
  ];
  const [apple, pear] = parsePairs(lines.join('\n'), 'x.jsonl');
  assert.deepEqual(apple, {
    where: 'x.jsonl:1',
    images: ['a.png'],
    texts: ['an apple'],
    label: 'an apple',
    flip: false,
  });
  assert.deepEqual(pear, {
    where: 'x.jsonl:3',
    images: ['b.png', 'c.png'],
    texts: ['a pear', 'pear'],
    label: 'pear',
    flip: true,
  });
  fails(
    () => parsePairs('{"picture": "a.png", "text": "a"}', 'x.jsonl'),
    /x\.jsonl:1: has none of filepath, image; it has picture, text/,
  );
  fails(() => parsePairs('{"image": "a.png", "text": ""}', 'x.jsonl'), /x\.jsonl:1: text: expected text/);
  fails(() => parsePairs('{"image": "a.png", "text": "a"}\n{"ima', 'x.jsonl'), /x\.jsonl:2: is not JSON/);
  fails(() => parsePairs('', 'x.jsonl'), /x\.jsonl: has no rows/);
});

test("tables with open_clip's columns, quoted cells, other separators and other columns", () => {
  const csv = 'filepath,title\r\na.png,"an apple, ""red"""\r\nb.png,"two\nlines"\r\n';
  const rows = parsePairs(csv, 'x.csv');
  assert.deepEqual(
    rows.map(({ where, images, texts }) => [where, ...images, ...texts]),
    [
      ['x.csv:2', 'a.png', 'an apple, "red"'],
      ['x.csv:3', 'b.png', 'two\nlines'],
    ],
  );
  const tsv = 'title\tfilepath\nan apple, red\ta.png';
  assert.deepEqual(parsePairs(tsv, 'x.tsv')[0].texts, ['an apple, red']);
  const other = parsePairs('url;words\na.png;apple', 'x.csv', { separator: ';', image: 'url', text: 'words' });
  assert.deepEqual([...other[0].images, ...other[0].texts], ['a.png', 'apple']);
  fails(() => parsePairs('filepath,title\na.png', 'x.csv'), /x\.csv:2: has 1 columns, the first line has 2/);
  fails(() => parsePairs('filepath,title\na.png,"apple', 'x.csv'), /x\.csv:2: a quoted cell has no end/);
  fails(() => parsePairs('filepath,title\na.png,"apple"s', 'x.csv'), /text after a quoted cell/);
  fails(() => parsePairs('path,title\na.png,apple', 'x.csv'), /has none of filepath, image; it has path, title/);
});

test('labels become numbers that a float64 holds', () => {
  const numbers = Array.from({ length: 20_000 }, (_, i) => labelNumber(`label ${i}`));
  assert.equal(new Set(numbers).size, numbers.length);
  assert.ok(numbers.every(Number.isSafeInteger));
});

/** Bytes in pieces of `size`, as a stream gives them. */
async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

const files = (entries: readonly TarEntry[], size = 700) => all(readTar(pieces(makeTar(entries), size), 'x.tar'));
const rejects = (promise: Promise<unknown>, message: RegExp) =>
  assert.rejects(promise, (error: Error) => {
    assert.match(error.message, message);
    return error instanceof InputError;
  });

test('tar: plain files, prefixes, pax and GNU names, pieces of any size', async () => {
  const long = `${'deep/'.repeat(30)}ä.txt`;
  const entries: TarEntry[] = [
    { name: 'folder/', type: '5' },
    { name: './a.txt', content: 'first' },
    { name: 'b.txt', prefix: 'some/where', content: 'x'.repeat(1300) },
    { name: 'g', type: 'g', content: paxRecord('comment', 'none') },
    { name: 'x', type: 'x', content: paxRecord('path', long) },
    { name: 'cut', content: 'named by pax' },
    { name: '././@LongLink', type: 'L', content: `${long}\0` },
    { name: 'cut', content: 'named by GNU' },
    { name: 'last', content: '' },
  ];
  for (const size of [1, 511, 512, 100_000]) {
    const read = await files(entries, size);
    const text = new TextDecoder();
    assert.deepEqual(
      read.map(({ name, bytes }) => [name, text.decode(bytes)]),
      [
        ['a.txt', 'first'],
        ['some/where/b.txt', 'x'.repeat(1300)],
        [long, 'named by pax'],
        [long, 'named by GNU'],
        ['last', ''],
      ],
    );
  }
});

test('tar: links, ways out, broken and cut archives are errors', async () => {
  await rejects(files([{ name: 'a', type: '2' }]), /x\.tar: at byte 0: a: is a symbolic link; only plain files/);
  await rejects(files([{ name: 'a', type: '1' }]), /is a hard link/);
  await rejects(files([{ name: '../a' }]), /\.\.\/a: leads out of the archive/);
  await rejects(files([{ name: '/etc/a' }]), /leads out of the archive/);
  await rejects(files([{ name: 'x', type: 'x', content: paxRecord('path', 'a/../../b') }, { name: 'a' }]), /leads out/);
  await rejects(files([{ name: 'x', type: 'x', content: 'nonsense' }, { name: 'a' }]), /expected a pax record/);
  const whole = makeTar([{ name: 'a', content: 'abc' }]);
  await rejects(all(readTar(pieces(whole.subarray(0, 514), 100), 'x.tar')), /ends inside a file or header/);
  await rejects(all(readTar(pieces(whole, 100), 'x.tar', { maxBytes: 2 })), /has 3 bytes, at most 2/);
  const broken = whole.slice();
  broken[3] ^= 1;
  await rejects(all(readTar(pieces(broken, 100), 'x.tar')), /its checksum is/);
  const packed = new Uint8Array(600).fill(0x8b);
  await rejects(
    all(readTar(pieces(packed, 100), 'x.tar')),
    /at byte 0: expected a tar header, .* to be unpacked first/,
  );
});

const samples = (entries: readonly TarEntry[]): Promise<StreamedPair[]> =>
  all(readWebDataset(readTar(pieces(makeTar(entries), 4096), 'x.tar'), 'x.tar'));

test('WebDataset: neighbours with one key are a sample; what is missing is named at once', async () => {
  const read = await samples([
    { name: 'v1.0/000.jpg', content: 'A' },
    { name: 'v1.0/000.txt', content: ' an apple\n' },
    { name: 'v1.0/000.json', content: '{"label": "apple", "text": "other"}' },
    { name: 'v1.0/001.seg.png', content: 'mask' },
    { name: 'v1.0/001.PNG', content: 'B' },
    { name: 'v1.0/001.json', content: '{"caption": ["a pear", "pear"]}' },
  ]);
  assert.deepEqual(
    read.map(({ where, image, texts, label }) => [where, new TextDecoder().decode(image), texts, label]),
    [
      ['x.tar: v1.0/000', 'A', ['an apple'], 'apple'],
      ['x.tar: v1.0/001', 'B', ['a pear', 'pear'], 'a pear'],
    ],
  );
  await rejects(
    samples([{ name: 'a.tiff' }, { name: 'a.txt', content: 'x' }]),
    /x\.tar: a: has no image \(jpg.*it has tiff, txt/,
  );
  await rejects(samples([{ name: 'a.jpg' }, { name: 'a.cls', content: '3' }]), /has no text.*it has jpg, cls/);
  const [jpg, txt] = [
    { name: 'a.jpg', content: 'A' },
    { name: 'a.txt', content: 'x' },
  ];
  await rejects(samples([jpg, jpg, txt]), /a\.jpg: comes twice/);
  await rejects(
    samples([jpg, txt, { ...jpg, name: 'b.jpg' }, { ...txt, name: 'b.txt' }, jpg, txt]),
    /the key a comes twice/,
  );
  await rejects(samples([jpg, { name: 'a.json', content: '{' }]), /a\.json: is not JSON/);
});

test('braces in names of shards', () => {
  assert.deepEqual(expandBraces('s/t-{008..010}.tar'), ['s/t-008.tar', 's/t-009.tar', 's/t-010.tar']);
  assert.deepEqual(expandBraces('{a,b}-{0..1}'), ['a-0', 'b-0', 'a-1', 'b-1']);
  assert.deepEqual(expandBraces('plain.tar'), ['plain.tar']);
  fails(() => expandBraces('a-{0..2.tar'), /a brace is not closed/);
  fails(() => expandBraces('a-{3..1}.tar'), /expected a rising range/);
});

test('shards: every sample once an epoch, an order by seed, shared by processes', async () => {
  const open = async function* (shard: number) {
    for (let i = 0; i < 10; i++) yield shard * 10 + i;
  };
  const take = async (count: number, options: { seed?: number; buffer?: number; rank?: number; ranks?: number }) => {
    const list: number[] = [];
    for await (const sample of shuffledSamples({ shards: 4, seed: 1, open, buffer: 100, ...options })) {
      list.push(sample);
      if (list.length === count) break;
    }
    return list;
  };
  const each = Array.from({ length: 40 }, (_, i) => i);
  const sorted = (list: readonly number[]) => list.toSorted((a, b) => a - b);
  const [first, second] = [await take(80, {}), await take(80, {})];
  assert.deepEqual(first, second);
  assert.deepEqual(sorted(first.slice(0, 40)), each);
  assert.deepEqual(sorted(first.slice(40)), each);
  assert.notDeepEqual(first.slice(0, 40), first.slice(40));
  assert.notDeepEqual(await take(40, { seed: 2 }), first.slice(0, 40));
  const ranks = [await take(20, { rank: 0, ranks: 2 }), await take(20, { rank: 1, ranks: 2 })];
  assert.deepEqual(sorted(ranks.flat()), each);
  // A small buffer: all of the shards come, none twice as often as another.
  const counts = new Map<number, number>();
  for (const sample of await take(400, { buffer: 7 })) counts.set(sample, (counts.get(sample) ?? 0) + 1);
  assert.ok(
    [...counts.values()].every((count) => count >= 9 && count <= 11),
    JSON.stringify([...counts]),
  );
  await rejects(take(1, { ranks: 5 }), /4 shards cannot be shared by 5 processes/);
});
