import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesOf } from '../../src/core/dtype.js';
import { AbortedError, RuntimeUnavailableError, ShapeError } from '../../src/core/errors.js';
import { floats, int32s, type Tensor } from '../../src/core/tensor.js';
import {
  createGraphBuilder,
  fusedLowering,
  type NumberFormat,
  type ParameterSpec,
  plainLowering,
} from '../../src/graph/builder.js';
import { attention, cachedAttention } from '../../src/nn/attention.js';
import { linear } from '../../src/nn/linear.js';
import { mlp } from '../../src/nn/mlp.js';
import { blockSizes, quantizeBlocks, quantizeColumns } from '../../src/nn/quantized.js';
import { bindTogether, copyBytes, createSpares } from '../../src/node/ort/memory.js';
import { createRuntime } from '../../src/node/ort/runtime.js';
import { allocateArenas, arenaLoader, layOut, parameterSpecs, viewSlot } from '../../src/train/arena.js';
import { assertAllclose } from '../helpers/allclose.js';
import { runGraph, weightsFrom } from '../helpers/run-graph.js';
import { randomTensor } from '../helpers/tensors.js';

const noWeights = { weights: () => undefined };

test('the three lowerings of causal attention agree, also for heads of odd size', async () => {
  for (const [heads, headSize] of [
    [4, 8],
    [3, 6],
  ]) {
    const [B, T, C] = [2, 5, heads * headSize];
    const scale = headSize ** -0.5;
    const feeds = { q: randomTensor([B, T, C], 1), k: randomTensor([B, T, C], 2), v: randomTensor([B, T, C], 3) };
    const bias = floats(
      [1, 1, T, T],
      Array.from({ length: T * T }, (_, i) => (i % T <= Math.floor(i / T) ? 0 : -1e9)),
    );

    const plain = createGraphBuilder('plain', plainLowering);
    const [q, k, v] = ['q', 'k', 'v'].map((name) => plain.input(name, 'float32', [B, T, C]));
    const options = { heads, scale, bias: plain.root.constant(bias) };
    plain.output('y', attention(plain.root, q, k, v, options));
    const want = (await runGraph(plain.finish(), new Map(), feeds))['y'].data as Float32Array;

    const cached = createGraphBuilder('cached', fusedLowering);
    const qkv = ['q', 'k', 'v'].map((name) => cached.input(name, 'float32', ['batch', 'sequence', C]));
    const cacheShape = ['batch', heads, 'cache', Math.ceil(headSize / 8) * 8];
    const past = {
      key: cached.state('key', 'float32', cacheShape),
      value: cached.state('value', 'float32', cacheShape),
      lastIndex: cached.input('lastIndex', 'int32', ['batch']),
      totalLength: cached.input('totalLength', 'int32', [1]),
    };
    const result = cachedAttention(cached.root, qkv, past, { heads, scale });
    cached.output('y', result.output);
    cached.carry('key', result.key);
    cached.carry('value', result.value);
    const session = await createRuntime({ threads: 2 }).compile(cached.finish(), noWeights);
    const state = session.createState({ batch: B, cache: 8 });
    const lengths = { lastIndex: int32s([B], [T - 1, T - 1]), totalLength: int32s([1], [T]) };
    const got = (await session.run({ ...feeds, ...lengths }, { state }))['y'].data as Float32Array;
    assertAllclose(got, want, { atol: 1e-5, rtol: 1e-4 }, `${heads} heads of ${headSize}`);
    // A second step sees the cache of the first, also after it has grown.
    const grown = await state.resize({ batch: B, cache: 16 });
    const last = (x: Tensor<'float32'>) =>
      floats([B, 1, C], [...x.data.subarray(0, C), ...x.data.subarray(T * C, T * C + C)]);
    const step = { q: last(feeds.q), k: last(feeds.k), v: last(feeds.v) };
    const next = { lastIndex: int32s([B], [T, T]), totalLength: int32s([1], [T + 1]) };
    const after = (await session.run({ ...step, ...next }, { state: grown }))['y'];
    assert.deepEqual(after.shape, [B, 1, C]);
    assert.ok((after.data as Float32Array).every(Number.isFinite));
    await session.dispose();
  }
});

test('fused attention without a mask equals the plain one', async () => {
  const [B, T, C, heads] = [2, 7, 24, 3];
  const feeds = { q: randomTensor([B, T, C], 4), k: randomTensor([B, T, C], 5), v: randomTensor([B, T, C], 6) };
  const results: Float32Array[] = [];
  for (const lowering of [plainLowering, fusedLowering]) {
    const builder = createGraphBuilder('attention', lowering);
    const [q, k, v] = ['q', 'k', 'v'].map((name) => builder.input(name, 'float32', [B, T, C]));
    builder.output('y', attention(builder.root, q, k, v, { heads, scale: 0.4 }));
    results.push((await runGraph(builder.finish(), new Map(), feeds))['y'].data as Float32Array);
  }
  assertAllclose(results[1], results[0], { atol: 1e-5, rtol: 1e-4 });
});

/** Rows of x [rows, K] times a weight [N, K], every sum in float64. */
function product(x: Tensor<'float32'>, weight: ArrayLike<number>, N: number): number[] {
  const [rows, K] = x.shape;
  return Array.from({ length: rows * N }, (_, at) => {
    let sum = 0;
    for (let i = 0; i < K; i++) sum += x.data[Math.floor(at / N) * K + i] * weight[(at % N) * K + i];
    return sum;
  });
}

async function quantizedLinear(
  numbers: NumberFormat,
  x: Tensor<'float32'>,
  weight: Tensor<'float32'>,
  nonNegative = false,
): Promise<Float32Array> {
  const builder = createGraphBuilder('linear', { ...fusedLowering, ...numbers });
  const input = builder.input('x', 'float32', ['rows', x.shape[1]]);
  builder.output('y', linear(builder.root, input, weight.shape[0], { bias: false, nonNegative }));
  return (await runGraph(builder.finish(), new Map([['weight', weight]]), { x }))['y'].data as Float32Array;
}

for (const inputBits of [8, 7] as const) {
  for (const nonNegative of [false, true]) {
    test(`8-bit weights times ${inputBits}-bit inputs${nonNegative ? ' above zero' : ''} are products of their levels`, async () => {
      const [rows, K, N] = [3, 323, 257];
      const weight = randomTensor([N, K], 7);
      const given = randomTensor([rows, K], 8);
      const x = nonNegative ? floats(given.shape, given.data.map(Math.abs)) : given;
      // A row of zeros, and one of another size.
      x.data.fill(0, K, 2 * K);
      for (let i = 2 * K; i < 3 * K; i++) x.data[i] *= 1000;
      const got = await quantizedLinear({ weightBits: 8, inputBits }, x, weight, nonNegative);
      const [levels, steps] = quantizeColumns(weight);
      const back = Array.from({ length: N * K }, (_, at) => {
        const [n, k] = [Math.floor(at / K), at % K];
        return (levels.data as Int8Array)[k * N + n] * (steps.data as Float32Array)[n];
      });
      const most = nonNegative ? 2 ** inputBits - 1 : 2 ** (inputBits - 1) - 1;
      const rounded = x.data.map((value, at) => {
        const row = x.data.subarray(Math.floor(at / K) * K, (Math.floor(at / K) + 1) * K);
        const step = Math.max(...row.map(Math.abs)) / most;
        return step === 0 ? 0 : Math.round(value / step) * step;
      });
      const want = product(floats([rows, K], rounded), back, N);
      for (let row = 0; row < rows; row++) {
        // A value in the middle of two levels may go to either.
        const own = [got, want].map((all) => all.slice(row * N, (row + 1) * N));
        assertAllclose(own[0], own[1], { atol: row === 2 ? 20 : 0.02, rtol: 0 });
      }
      assert.ok(Math.max(...back.map((value, i) => Math.abs(value - weight.data[i]))) < 0.02);
      const alone = await quantizedLinear(
        { weightBits: 8, inputBits },
        floats([1, K], x.data.slice(2 * K)),
        weight,
        nonNegative,
      );
      assert.deepEqual(alone, got.slice(2 * N));
    });
  }
}

for (const bits of [4, 8] as const) {
  test(`${bits}-bit weights in blocks multiply as their dequantized values do`, async () => {
    const [rows, K, N] = [3, 320, 256];
    const weight = randomTensor([N, K], 7);
    const x = randomTensor([rows, K], 8);
    const got = await quantizedLinear({ weightBits: bits, inputBits: 32 }, x, weight);
    const [packed, scales] = quantizeBlocks(weight, bits).map(({ data }) => data as Uint8Array | Float32Array);
    const [perByte, blockSize] = [8 / bits, blockSizes[bits]];
    // The last block of a row is padded where a row is no whole number of them.
    const padded = Math.ceil(K / blockSize) * blockSize;
    const back = Array.from({ length: N * K }, (_, i) => {
      const at = Math.floor(i / K) * padded + (i % K);
      const level = (packed[Math.floor(at / perByte)] >> (bits * (at % perByte))) & (2 ** bits - 1);
      return (level - 2 ** (bits - 1)) * scales[Math.floor(at / blockSize)];
    });
    // The kernel rounds activations to 8 bits per block: errors of a percent of a typical value.
    assertAllclose(got, product(x, back, N), { atol: 0.02 * Math.sqrt(K), rtol: 0 });
    const worst = Math.max(...back.map((value, i) => Math.abs(value - weight.data[i])));
    assert.ok(worst < (bits === 4 ? 0.4 : 0.04), String(worst));
  });
}

test('wrong feeds are refused before anything runs', async () => {
  const builder = createGraphBuilder('g');
  const x = builder.input('x', 'float32', ['n', 4]);
  builder.output('y', builder.root.op('Add', [x, builder.input('z', 'float32', ['n', 4])], {}));
  const session = await createRuntime({ threads: 2 }).compile(builder.finish(), noWeights);
  const two = floats([2, 4], new Float32Array(8));
  await assert.rejects(session.run({ x: two }), ShapeError);
  await assert.rejects(session.run({ x: two, z: floats([3, 4], new Float32Array(12)) }), ShapeError);
  await assert.rejects(session.run({ x: int32s([2, 4], new Int32Array(8)), z: two }), ShapeError);
  // After a run of these shapes, whose plan is kept.
  await session.run({ x: two, z: two });
  await assert.rejects(
    session.run({ x: int32s([2, 4], new Int32Array(8)), z: two }),
    /input x: expected float32, got int32/,
  );
  const short: Tensor = { ...two, data: new Float32Array(3) };
  await assert.rejects(session.run({ x: two, z: short }), /input z: float32\[2,4\]: expected 32 bytes of data, got 12/);
  await assert.rejects(session.run({ x: two, z: two }, { outputs: ['nothing'] }), /no output nothing/);
  const { y } = await session.run({ x: two, z: two });
  assert.deepEqual(y.shape, [2, 4]);
  await session.dispose();
  await session.dispose();
  await assert.rejects(session.run({ x: two, z: two }), /disposed/);
});

test('an aborted run stops, and the next one is whole', async () => {
  const builder = createGraphBuilder('g');
  let x = builder.input('x', 'float32', [512, 512]);
  for (let i = 0; i < 60; i++) x = builder.root.op('Tanh', [builder.root.op('MatMul', [x, x], {})], {});
  builder.output('y', x);
  const session = await createRuntime({ threads: 2 }).compile(builder.finish(), noWeights);
  const feeds = { x: randomTensor([512, 512], 9) };
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 5);
  await assert.rejects(session.run(feeds, { signal: controller.signal }), AbortedError);
  await assert.rejects(session.run(feeds, { signal: controller.signal }), AbortedError);
  assert.equal((await session.run(feeds))['y'].data.length, 512 * 512);
  await session.dispose();
});

test('a fork runs beside its session with the same weights, and lives as long as it is used', async () => {
  const builder = createGraphBuilder('g');
  builder.output('y', linear(builder.root, builder.input('x', 'float32', ['batch', 64]), 64, { bias: false }));
  const weights = weightsFrom(new Map([['weight', randomTensor([64, 64], 11)]]));
  const session = await createRuntime().compile(builder.finish(), { weights, threads: 1 });
  const fork = session.fork();
  const feeds = Array.from({ length: 12 }, (_, i) => ({ x: randomTensor([4, 64], i) }));
  const alone = [];
  for (const feed of feeds) alone.push((await session.run(feed))['y']);
  const beside = await Promise.all(feeds.map((feed, i) => (i % 2 === 0 ? session : fork).run(feed)));
  for (const [i, { y }] of beside.entries()) assert.deepEqual(y, alone[i]);
  await session.dispose();
  await assert.rejects(session.run(feeds[0]), /disposed/);
  assert.throws(() => session.fork(), /disposed/);
  assert.deepEqual((await fork.run(feeds[0]))['y'], alone[0]);
  await fork.dispose();
  await assert.rejects(fork.run(feeds[0]), /disposed/);
});

test('sessions opened and closed leave no memory behind', async () => {
  const weight = randomTensor([256, 256], 10);
  const builder = createGraphBuilder('g');
  builder.output('y', linear(builder.root, builder.input('x', 'float32', [4, 256]), 256, { bias: false }));
  const graph = builder.finish();
  const runtime = createRuntime({ threads: 2 });
  const weights = weightsFrom(new Map([['weight', weight]]));
  const cycle = async (count: number) => {
    for (let i = 0; i < count; i++) {
      const session = await runtime.compile(graph, { weights });
      await session.run({ x: floats([4, 256], new Float32Array(1024)) });
      await session.dispose();
    }
    return process.memoryUsage().rss;
  };
  const before = await cycle(150);
  const grown = (await cycle(850)) - before;
  // 850 leaked sessions of this size would hold more than 220 MB.
  assert.ok(grown < 40e6, `RSS grew by ${grown} bytes`);
});

test('a session that releases after each run keeps nothing of it, and computes the same', async () => {
  const side = 4096;
  const builder = createGraphBuilder('wide');
  const x = builder.input('x', 'float32', [1, side]);
  // The first region of ONNX Runtime's arena stays whatever happens: let it be this one.
  const first = builder.root.op('Tanh', [x], {});
  const wide = builder.root.op('MatMul', [builder.root.op('Reshape', [first], { shape: [side, 1] }), x], {}); // 64 MiB
  const waved = builder.root.op('Tanh', [wide], {});
  builder.output('y', builder.root.op('ReduceSum', [waved], { axes: [1], keepdims: 0 }));
  const graph = builder.finish();
  const feeds = { x: randomTensor([1, side], 9) };
  const held: number[] = [];
  const sums: Tensor[] = [];
  for (const releaseAfterRun of [true, false]) {
    const session = await createRuntime().compile(graph, { ...noWeights, releaseAfterRun });
    const before = process.memoryUsage().rss;
    sums.push((await session.run(feeds))['y'], (await session.run(feeds))['y']);
    held.push((process.memoryUsage().rss - before) / 2 ** 20);
    await session.dispose();
  }
  assert.ok(held[0] < held[1] / 3, `${held} MiB are left`);
  for (const sum of sums) assert.deepEqual(sum, sums[0]);
});

test('a device that is not there is refused with its reason', () => {
  for (const device of ['cuda', 'webgpu'] as const) {
    try {
      createRuntime({ device });
    } catch (error) {
      assert.ok(error instanceof RuntimeUnavailableError);
      assert.match(error.message, /doctor/);
    }
  }
});

test('tensors of megabytes are copied piece by piece; a run that is aborted meanwhile does not begin', async () => {
  const [source, target] = [new Uint8Array(2_500_000).map((_, i) => i % 251), new Uint8Array(2_500_000)];
  const written: number[] = [];
  await copyBytes(target, source, async () => void written.push(target.findLastIndex((value) => value !== 0) + 1));
  assert.deepEqual(
    written.map((end) => Math.ceil(end / 1000)),
    [1049, 2098, 2500],
  );
  assert.equal(Buffer.compare(target, source), 0);
  const builder = createGraphBuilder('large');
  builder.output(
    'y',
    builder.root.op('Add', [builder.input('x', 'float32', ['n']), builder.root.constant(floats([1], [0]))], {}),
  );
  const session = await createRuntime({ threads: 2 }).compile(builder.finish(), noWeights);
  const x = randomTensor([700_000], 9);
  const { y } = await session.run({ x });
  assert.equal(Buffer.compare(bytesOf(y.data), bytesOf(x.data)), 0);
  const controller = new AbortController();
  const { data } = x;
  const feed = {
    ...x,
    get data() {
      controller.abort();
      return data;
    },
  };
  await assert.rejects(session.run({ x: feed }, { signal: controller.signal }), AbortedError);
  await session.dispose();
});

test('carried tensors lie in one piece of memory, each at its own place', () => {
  const types = [3, 0, 17, 1].map((n) => ({ dtype: 'float32' as const, shape: [n, 5] }));
  const tensors = bindTogether(types);
  assert.equal(new Set(tensors.map(({ data }) => data.buffer)).size, 1);
  for (const [i, { data }] of tensors.entries()) {
    assert.deepEqual([data.length, data.byteOffset % 64], [types[i].shape[0] * 5, 0]);
    assert.ok(data.every((value) => Number(value) === 0));
    data.fill((i + 1) as never);
  }
  for (const [i, { data, release }] of tensors.entries()) {
    assert.ok(data.every((value) => Number(value) === i + 1));
    release();
  }
});

test('memory of shapes that are gone is used again, and lent results stay until the next run', async () => {
  const spares = createSpares();
  const first = spares.take('float32', 1000);
  spares.give(first);
  assert.equal(spares.take('int64', 100).buffer === first.buffer, false, 'a piece far larger than asked for');
  const again = spares.take('int32', 1010);
  assert.equal(again.buffer, first.buffer);
  assert.deepEqual([again.length, again.byteOffset], [1010, 0]);
  assert.notEqual(spares.take('float32', 1000).buffer, first.buffer);

  const graph = createGraphBuilder('double');
  const x = graph.input('x', 'float32', ['n']);
  graph.output('y', graph.root.op('Add', [x, x], {}));
  const session = await createRuntime({ threads: 1 }).compile(graph.finish(), noWeights);
  // More shapes than plans are kept for: each takes what one before left.
  for (let n = 1; n < 40; n++) {
    const { y } = await session.run({ x: randomTensor([n], n) }, { lend: n % 2 === 0 });
    assert.deepEqual(
      [...y.data],
      [...randomTensor([n], n).data].map((value) => 2 * value),
    );
  }
  await session.dispose();
});

test('space between rows, which keeps a kernel quick, changes no result', async () => {
  const [rows, width, hidden] = [60, 24, 1024];
  const names = ['fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias'];
  const shapes = [[hidden, width], [hidden], [width, hidden], [width]];
  const weights = new Map(names.map((name, i) => [name, randomTensor(shapes[i], i)] as const));
  const wide = new Map([['weight', randomTensor([8, hidden], 9)] as const]);
  const results: Float32Array[][] = [];
  let specs: readonly ParameterSpec[] = [];
  for (const lowering of [plainLowering, fusedLowering]) {
    const builder = createGraphBuilder('mlp', lowering);
    const x = builder.input('x', 'float32', ['n', rows, width]);
    builder.output('y', mlp(builder.root, x, { hidden, activation: 'gelu', names: ['fc1', 'fc2'] }));
    const graph = builder.finish();
    const spaced = graph.parameters.filter(({ name }) => name.endsWith('.spaced')).map(({ value }) => value.shape);
    const apart = hidden + 16;
    assert.deepEqual(spaced, lowering === plainLowering ? [] : [[apart], [apart, width], [width, apart]]);
    if (lowering === plainLowering) specs = parameterSpecs(graph);
    const { y } = await runGraph(graph, weights, { x: randomTensor([2, rows, width], 5) });
    const narrow = createGraphBuilder('linear', lowering);
    const given = narrow.input('x', 'float32', ['n', rows, hidden]);
    narrow.output('y', linear(narrow.root, given, 8, { bias: false }));
    const { y: z } = await runGraph(narrow.finish(), wide, { x: randomTensor([2, rows, hidden], 6) });
    // What is being trained is read with the same graphs.
    const runtime = createRuntime({ threads: 2 });
    const arenas = allocateArenas(runtime, layOut(specs, [], 0));
    for (const [name, slot] of arenas.layout.slots) viewSlot(arenas.parameters, slot).data.set(weights.get(name)!.data);
    const session = await runtime.compile(graph, { weights: arenaLoader(arenas) });
    const { y: trained } = await session.run({ x: randomTensor([2, rows, width], 5) });
    await session.dispose();
    assert.deepEqual(trained.data, y.data);
    results.push([y, z].map(({ data }) => data as Float32Array));
  }
  for (const i of [0, 1]) assertAllclose(results[1][i], results[0][i], { atol: 1e-3, rtol: 1e-5 });
});
