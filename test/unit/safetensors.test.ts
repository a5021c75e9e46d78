import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allocate, bytesOf, type DType, itemSize } from '../../src/core/dtype.js';
import { InputError, WeightsError } from '../../src/core/errors.js';
import { createRng, type Rng } from '../../src/core/rng.js';
import { sizeOf, type Tensor } from '../../src/core/tensor.js';
import { readFloat32 } from '../../src/weights/checkpoint.js';
import { openSafetensors, safetensorsChunks, writeSafetensors } from '../../src/weights/safetensors.js';
import { type ByteSource, memorySource } from '../../src/weights/source.js';
import { fixtureBytes } from '../helpers/fixtures.js';

const dtypes: readonly DType[] = [
  'float32',
  'float64',
  'float16',
  'bfloat16',
  'int64',
  'int32',
  'int16',
  'int8',
  'uint64',
  'uint32',
  'uint16',
  'uint8',
  'bool',
];

function randomTensor(rng: Rng, dtype: DType, shape: readonly number[]): Tensor {
  const data = allocate(dtype, sizeOf(shape));
  const bytes = bytesOf(data);
  for (let i = 0; i < bytes.length; i++) bytes[i] = rng.integer(0, dtype === 'bool' ? 2 : 256);
  return { dtype, shape, data };
}

/** A source that fails the test where a reader asks for what is not there, or for more than the file several times over. */
function strictSource(bytes: Uint8Array, what: string): ByteSource {
  let asked = 0;
  return {
    name: 'test.safetensors',
    size: bytes.length,
    read: (offset, length) => {
      assert.ok(offset >= 0 && length >= 0 && offset + length <= bytes.length, `${what}: read outside the file`);
      asked += length;
      assert.ok(asked <= 3 * bytes.length + 64, `${what}: ${asked} bytes read of ${bytes.length}`);
      return bytes.subarray(offset, offset + length);
    },
  };
}

async function readAll(bytes: Uint8Array, what = 'round trip'): Promise<Map<string, Tensor>> {
  const file = await openSafetensors(strictSource(bytes, what));
  const tensors = new Map<string, Tensor>();
  for (const name of file.names) tensors.set(name, await file.read(name));
  return tensors;
}

const bitsOf = ({ data }: Tensor) => Buffer.from(bytesOf(data)).toString('hex');

test('every dtype, rank and name comes back bit for bit', async () => {
  const rng = createRng(1);
  const names = [
    'w',
    'a.b.c',
    '',
    ' ',
    '"',
    '\\',
    'é',
    '图',
    '🙂',
    '__proto__',
    'constructor',
    '0',
    '10',
    '9',
    '\u0000',
  ];
  const shapes = [[], [0], [1], [3], [2, 3], [2, 0, 4], [1, 2, 3, 4], Array<number>(64).fill(1)];
  for (let round = 0; round < 60; round++) {
    const tensors = new Map(
      names
        .filter(() => rng.next() < 0.6)
        .map((name) => [name, randomTensor(rng, dtypes[rng.integer(0, 13)], shapes[rng.integer(0, 8)])]),
    );
    const metadata = round % 2 ? { format: 'pt', note: 'ü\n"' } : undefined;
    const bytes = writeSafetensors(tensors, metadata);
    const back = await readAll(bytes);
    assert.deepEqual(new Set(back.keys()), new Set(tensors.keys()));
    for (const [name, want] of tensors) {
      const got = back.get(name)!;
      assert.deepEqual([got.dtype, got.shape, bitsOf(got)], [want.dtype, want.shape, bitsOf(want)], name);
    }
    const file = await openSafetensors(memorySource('x', bytes));
    assert.deepEqual(Object.fromEntries(file.metadata), metadata ?? {});
    // Data starts and tensors lie aligned, so that readers may map them.
    const header = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
    assert.equal(header % 8, 0);
    assert.deepEqual(
      Buffer.from(writeSafetensors([...tensors].reverse(), metadata)),
      Buffer.from(bytes),
      'order matters',
    );
  }
});

test('a subarray is written without its neighbours, in chunks without a copy', () => {
  const whole = Float32Array.of(1, 2, 3, 4);
  const view: Tensor = { dtype: 'float32', shape: [2], data: whole.subarray(1, 3) };
  const [, data] = safetensorsChunks([['w', view]]);
  assert.equal(data.buffer, whole.buffer);
  assert.deepEqual(new Float32Array(data.slice().buffer), Float32Array.of(2, 3));
});

test('what no file can hold is refused before anything is written', () => {
  const w: Tensor = { dtype: 'float32', shape: [2], data: new Float32Array(2) };
  const refused = (tensors: [string, Tensor][], message: RegExp, metadata?: Record<string, string>) =>
    assert.throws(
      () => writeSafetensors(tensors, metadata),
      (error) => error instanceof InputError && message.test(error.message),
    );
  refused(
    [
      ['w', w],
      ['w', w],
    ],
    /cannot be called w twice/,
  );
  refused([['__metadata__', w]], /cannot be called __metadata__/);
  refused([['\ud800', w]], /cannot be called/);
  refused([['w', { ...w, shape: [3] }]], /needs 3 elements, got 2/);
  refused([['w', { ...w, shape: [-1, -2] }]], /needs/);
  refused([['w', { ...w, shape: Array<number>(65).fill(1) }]], /needs/);
  refused([['w', w]], /not well-formed Unicode/, { a: '\udc00' });
});

test('readFloat32 widens floating-point types and refuses whole numbers', async () => {
  const half: Tensor = { dtype: 'float16', shape: [2], data: Uint16Array.of(0x3c00, 0xc000) };
  const whole: Tensor = { dtype: 'int32', shape: [1], data: Int32Array.of(1) };
  const file = await openSafetensors(
    memorySource(
      'f',
      writeSafetensors([
        ['h', half],
        ['i', whole],
      ]),
    ),
  );
  assert.deepEqual((await readFloat32(file, 'h')).data, Float32Array.of(1, -2));
  await assert.rejects(readFloat32(file, 'i'), /i: expected a floating-point tensor, got int32/);
  await assert.rejects(readFloat32(file, 'none'), /no tensor is called none/);
});

/** A file around any header. */
function fileOf(header: string | Uint8Array, data = new Uint8Array(16), length?: bigint): Uint8Array {
  const text = typeof header === 'string' ? Buffer.from(header) : header;
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(length ?? BigInt(text.length));
  return Buffer.concat([start, text, data]);
}

const entry = (fields: string) => fileOf(`{"w":{${fields}}}`);

for (const [what, bytes, message] of [
  ['nothing', new Uint8Array(0), /cut off/],
  ['a header length past the end', fileOf('{}', new Uint8Array(0), 100n), /cut off/],
  ['a header length of 2^63', fileOf('{}', new Uint8Array(0), 2n ** 63n), /at most 100000000 bytes/],
  ['a header that is a list', fileOf('[]', new Uint8Array(0)), /starts with "\{"/],
  ['white space before the header', fileOf(' {}', new Uint8Array(0)), /starts with "\{"/],
  ['a header that is not UTF-8', fileOf(Uint8Array.of(0x7b, 0xff, 0x7d)), /UTF-8/],
  ['a name twice', fileOf('{"w":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"w":{}}'), /occurs twice/],
  ['an unknown dtype', entry('"dtype":"F4","shape":[16],"data_offsets":[0,16]'), /expected a dtype of .*, got F4/],
  ['a dtype of the prototype', entry('"dtype":"constructor","shape":[16],"data_offsets":[0,16]'), /expected a dtype/],
  ['a negative extent', entry('"dtype":"U8","shape":[-16],"data_offsets":[0,16]'), /not negative/],
  [
    'extents whose product is 2^64',
    entry('"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,16]'),
    /more than 2\^53/,
  ],
  ['a fraction', entry('"dtype":"U8","shape":[1.5],"data_offsets":[0,16]'), /whole numbers/],
  ['offsets that are too few', entry('"dtype":"U8","shape":[16],"data_offsets":[0]'), /data_offsets \[begin, end\]/],
  ['offsets in the wrong order', entry('"dtype":"U8","shape":[16],"data_offsets":[16,0]'), /data_offsets/],
  ['offsets past the end', entry('"dtype":"U8","shape":[32],"data_offsets":[0,32]'), /./],
  ['bytes that no tensor has', entry('"dtype":"U8","shape":[8],"data_offsets":[0,8]'), /./],
  ['a gap', entry('"dtype":"U8","shape":[8],"data_offsets":[8,16]'), /gap/],
  ['metadata that is no text', fileOf('{"__metadata__":{"a":1}}', new Uint8Array(0)), /to be a string/],
] as const) {
  test(`refused: ${what}`, async () => {
    await assert.rejects(readAll(bytes), (error) => {
      assert.ok(error instanceof WeightsError, String(error));
      assert.match(error.message, message);
      assert.match(error.message, /^test.safetensors: /);
      return true;
    });
  });
}

/** Reads a damaged file: the result must be tensors or a WeightsError. */
async function survives(bytes: Uint8Array, what: string): Promise<boolean> {
  try {
    for (const { dtype, shape, data } of (await readAll(bytes, what)).values()) {
      assert.equal(data.length, sizeOf(shape), what);
      assert.ok(data.length * itemSize(dtype) <= bytes.length, what);
    }
    return true;
  } catch (error) {
    assert.ok(error instanceof WeightsError, `${what}: ${String((error as Error).stack)}`);
    assert.ok(error.message.length < 4000, `${what}: a message of ${error.message.length} characters`);
    return false;
  }
}

test('random bytes changed, cut and repeated give typed errors, in bounded memory and time', async () => {
  const originals = ['plain', 'metadata', 'unordered-header', 'empty-and-scalar'].map((name) =>
    fixtureBytes(`malicious-checkpoints/ok/${name}.safetensors`),
  );
  const rng = createRng(11);
  const started = performance.now();
  const before = process.memoryUsage().arrayBuffers;
  let refused = 0;
  for (let round = 0; round < 12_000; round++) {
    let bytes = Uint8Array.from(originals[round % originals.length]);
    for (let k = rng.integer(1, 5); k > 0; k--) bytes[rng.integer(0, bytes.length)] = rng.integer(0, 256);
    if (rng.next() < 0.2) bytes = bytes.subarray(0, rng.integer(0, bytes.length));
    if (rng.next() < 0.1) bytes = Buffer.concat([bytes, bytes.subarray(rng.integer(0, bytes.length))]);
    if (!(await survives(bytes, `round ${round}`))) refused++;
  }
  assert.ok(refused > 6000, `${refused} refused`);
  assert.ok(performance.now() - started < 20_000);
  assert.ok(process.memoryUsage().arrayBuffers - before < 64 << 20);
});

test('headers of strange numbers and nesting give typed errors', async () => {
  const rng = createRng(12);
  const strange = [
    '-1',
    '-0',
    '0',
    '1',
    '4',
    '16',
    '1.5',
    '1e2',
    '1e999',
    '9007199254740993',
    '18446744073709551616',
    'null',
    'true',
    '"4"',
    '[]',
    '{}',
    '[[4]]',
    '[4,4]',
    '00',
    '+1',
    'NaN',
    '1e',
    '',
  ];
  const pick = () => strange[rng.integer(0, strange.length)];
  let loaded = 0;
  for (let round = 0; round < 4000; round++) {
    const field = (normal: string) => (rng.next() < 0.75 ? normal : pick());
    const list = (...normal: string[]) => (rng.next() < 0.9 ? `[${normal.map(field)}]` : pick());
    const dtype = rng.next() < 0.8 ? '"F32"' : pick();
    const header = `{"a":{"dtype":${dtype},"shape":${list('2')},"data_offsets":${list('0', '8')}},"b":{"dtype":"U8","shape":${list('8')},"data_offsets":${list('8', '16')}}}`;
    if (await survives(fileOf(header), `round ${round}: ${header}`)) loaded++;
  }
  assert.ok(loaded > 100 && loaded < 2000, `${loaded} loaded`);
  await survives(fileOf(`{"a":${'['.repeat(50_000)}`), 'nesting');
  await survives(fileOf(`{${'"a":{},'.repeat(50_000)}}`), 'the same name often');
});
