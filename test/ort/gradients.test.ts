import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRng } from '../../src/core/rng.js';
import { floats, ints, type Tensor } from '../../src/core/tensor.js';
import { differentiate, gradientName } from '../../src/grad/backward.js';
import { rules } from '../../src/grad/rules.js';
import { createGraphBuilder, normalInit, type Scope, type Value } from '../../src/graph/builder.js';
import type { OpName } from '../../src/graph/ops.js';
import { optFamily } from '../../src/models/graphs.js';
import { opt125m } from '../../src/models/opt.js';
import { createRuntime } from '../../src/node/ort/runtime.js';
import { viewSlot } from '../../src/train/arena.js';
import { readingTask } from '../../src/train/tasks.js';
import { createTrainer } from '../../src/train/trainer.js';
import { weightsFrom } from '../helpers/run-graph.js';

interface Case {
  readonly name?: string;
  /** Shapes of the float32 operands, whose gradients are compared with finite differences. */
  readonly shapes: readonly (readonly number[])[];
  readonly build: (s: Scope, operands: readonly Value[]) => Value;
  /** Operand values from standard normal ones: to stay where the op is smooth. */
  readonly values?: (x: number) => number;
}

const awayFromZero = (x: number) => (x >= 0 ? x + 0.3 : x - 0.3);
const positive = (x: number) => Math.abs(x) + 0.5;
const one = (op: 'Erf' | 'Exp' | 'Neg' | 'Sigmoid' | 'Tanh' | 'Relu' | 'Abs' | 'Log' | 'Sqrt'): Case => ({
  shapes: [[3, 4]],
  build: (s, [x]) => s.op(op, [x], {}),
  values: op === 'Log' || op === 'Sqrt' ? positive : awayFromZero,
});
const two = (op: 'Add' | 'Sub' | 'Mul' | 'Div' | 'Max' | 'Min'): Case[] =>
  [
    [
      [2, 3],
      [2, 3],
    ],
    [
      [2, 1, 3],
      [4, 1],
    ],
    [[3], [2, 2, 3]],
    [[], [2, 2]],
  ].map((shapes) => ({
    name: `${op} ${shapes.map((shape) => `[${shape}]`).join(' ')}`,
    shapes,
    build: (s, [a, b]) => s.op(op, [a, b], {}),
    values: awayFromZero,
  }));
const reduction = (op: 'ReduceSum' | 'ReduceMean' | 'ReduceMax'): Case[] => [
  { shapes: [[2, 3, 4]], build: (s, [x]) => s.op(op, [x], { axes: [1], keepdims: 0 }) },
  { shapes: [[2, 3, 4]], build: (s, [x]) => s.op(op, [x], { axes: [0, -1], keepdims: 1 }) },
];
const conv = (kernel: number, strides: readonly [number, number], pads: readonly number[]): Case => ({
  name: `kernel ${kernel}, strides ${strides}, pads ${pads}`,
  shapes: [[2, 3, 7, 6], [4, 3, kernel, kernel], [4]],
  build: (s, [x, w, b]) => s.op('Conv', [x, w, b], { kernelShape: [kernel, kernel], strides, pads }),
});

const cases: { readonly [K in OpName]: readonly Case[] | 'none' } = {
  Abs: [one('Abs')],
  Add: two('Add'),
  ArgMax: 'none',
  Cast: [
    { shapes: [[2, 2]], build: (s, [x]) => s.op('Cast', [s.op('Cast', [x], { to: 'float64' })], { to: 'float32' }) },
  ],
  Concat: [
    {
      shapes: [
        [2, 1],
        [2, 3],
        [2, 2],
      ],
      build: (s, operands) => s.op('Concat', operands, { axis: -1 }),
    },
  ],
  Conv: [
    conv(3, [1, 1], [1, 1, 1, 1]),
    conv(3, [2, 2], [1, 1, 1, 1]),
    conv(3, [2, 1], [1, 0, 2, 1]),
    conv(1, [1, 1], [0, 0, 0, 0]),
  ],
  ConvTranspose: [
    {
      shapes: [[2, 3, 4, 3], [3, 2, 3, 3], [2]],
      build: (s, [x, w, b]) =>
        s.op('ConvTranspose', [x, w, b], {
          kernelShape: [3, 3],
          strides: [2, 1],
          pads: [1, 1, 1, 1],
          outputPadding: [1, 0],
        }),
    },
  ],
  Div: two('Div'),
  Equal: 'none',
  Erf: [one('Erf')],
  Exp: [one('Exp')],
  Expand: [{ shapes: [[3, 1]], build: (s, [x]) => s.op('Expand', [x], { shape: [2, 3, 4] }) }],
  FusedMatMul: [0, 1].flatMap((transA) =>
    [0, 1].map((transB) => ({
      name: `transA ${transA} transB ${transB}`,
      shapes: [transA ? [2, 4, 3] : [2, 3, 4], transB ? [2, 5, 4] : [2, 4, 5]],
      build: (s: Scope, [a, b]: readonly Value[]) =>
        s.op('FusedMatMul', [a, b], { transA: transA as 0 | 1, transB: transB as 0 | 1, alpha: 0.7 }),
    })),
  ),
  Gather: [
    { shapes: [[4, 3]], build: (s, [x]) => s.op('Gather', [x, s.constant(ints([2, 2], [1, 3, 1, 0]))], { axis: 0 }) },
    { shapes: [[2, 4, 3]], build: (s, [x]) => s.op('Gather', [x, s.constant(ints([3], [1, 3, 1]))], { axis: 1 }) },
    { shapes: [[2, 4]], build: (s, [x]) => s.op('Gather', [x, s.constant(ints([], [2]))], { axis: -1 }) },
  ],
  GatherElements: [
    {
      shapes: [[3, 4]],
      build: (s, [x]) => s.op('GatherElements', [x, s.constant(ints([3, 2], [0, 3, 1, 1, 2, 0]))], { axis: 1 }),
    },
    {
      shapes: [[3, 2]],
      build: (s, [x]) => s.op('GatherElements', [x, s.constant(ints([2, 2], [0, 2, 1, 1]))], { axis: 0 }),
    },
  ],
  Gelu: [
    { shapes: [[3, 4]], build: (s, [x]) => s.op('Gelu', [x], {}) },
    { shapes: [[3, 4]], build: (s, [x]) => s.op('Gelu', [x], { approximate: 'tanh' }) },
  ],
  Gemm: [0, 1].flatMap((transA) =>
    [0, 1].map((transB) => ({
      name: `transA ${transA} transB ${transB}`,
      shapes: [transA ? [4, 3] : [3, 4], transB ? [5, 4] : [4, 5], [5]],
      build: (s: Scope, operands: readonly Value[]) =>
        s.op('Gemm', operands, { transA: transA as 0 | 1, transB: transB as 0 | 1, alpha: 0.7, beta: 1.3 }),
    })),
  ),
  GroupQueryAttention: 'none',
  // It stops the gradient: see below.
  Identity: [],
  LayerNormalization: [
    {
      shapes: [[3, 5], [5], [5]],
      build: (s, operands) => s.op('LayerNormalization', operands, { axis: -1, epsilon: 1e-5 }),
    },
    {
      shapes: [
        [2, 3, 4],
        [3, 4],
      ],
      build: (s, operands) => s.op('LayerNormalization', operands, { axis: 1, epsilon: 1e-2 }),
    },
  ],
  LessOrEqual: 'none',
  Log: [one('Log')],
  LogSoftmax: [{ shapes: [[3, 4]], build: (s, [x]) => s.op('LogSoftmax', [x], { axis: -1 }) }],
  MatMul: [
    {
      shapes: [
        [3, 4],
        [4, 2],
      ],
      build: (s, operands) => s.op('MatMul', operands, {}),
    },
    {
      shapes: [
        [2, 3, 4],
        [4, 2],
      ],
      build: (s, operands) => s.op('MatMul', operands, {}),
    },
    {
      shapes: [
        [2, 1, 3, 4],
        [5, 4, 2],
      ],
      build: (s, operands) => s.op('MatMul', operands, {}),
    },
  ],
  MatMulIntegerToFloat: 'none',
  MatMulNBits: 'none',
  Max: two('Max'),
  Min: two('Min'),
  Mul: two('Mul'),
  MultiHeadAttention: 'none',
  Neg: [one('Neg')],
  Pad: [{ shapes: [[2, 3]], build: (s, [x]) => s.op('Pad', [x], { pads: [0, 1, 2, 0] }) }],
  QuantizeLinear: 'none',
  ReduceMax: reduction('ReduceMax'),
  ReduceMean: reduction('ReduceMean'),
  ReduceSum: reduction('ReduceSum'),
  Relu: [one('Relu')],
  Reshape: [{ shapes: [[2, 6]], build: (s, [x]) => s.op('Reshape', [x], { shape: [3, 4] }) }],
  ScatterND: [
    {
      shapes: [
        [4, 3],
        [2, 3],
      ],
      build: (s, [x, u]) => s.op('ScatterND', [x, s.constant(ints([2, 1], [3, 1])), u], {}),
    },
    {
      shapes: [[4, 3], [3]],
      build: (s, [x, u]) =>
        s.op('ScatterND', [x, s.constant(ints([3, 2], [3, 1, 0, 2, 3, 1])), u], { reduction: 'add' }),
    },
  ],
  Sigmoid: [one('Sigmoid')],
  Slice: [
    { shapes: [[3, 7]], build: (s, [x]) => s.op('Slice', [x], { starts: [1, -5], ends: [3, -1], axes: [0, 1] }) },
    { shapes: [[2, 8]], build: (s, [x]) => s.op('Slice', [x], { starts: [1], ends: [8], axes: [1], steps: [3] }) },
  ],
  Softmax: [{ shapes: [[3, 4]], build: (s, [x]) => s.op('Softmax', [x], { axis: -1 }) }],
  Split: [
    {
      shapes: [[2, 5]],
      build: (s, [x]) => {
        const [a, , c] = s.ops('Split', [x], { split: [2, 1, 2], axis: 1 });
        return s.op('Mul', [a, c], {});
      },
    },
  ],
  Sqrt: [one('Sqrt')],
  Sub: two('Sub'),
  Tanh: [one('Tanh')],
  Transpose: [{ shapes: [[2, 3, 4]], build: (s, [x]) => s.op('Transpose', [x], { perm: [2, 0, 1] }) }],
  Where: [
    {
      shapes: [[2, 3], [3]],
      build: (s, [a, b]) => {
        const chosen = s.op(
          'LessOrEqual',
          [s.constant(floats([2, 1], [0, 2])), s.constant(floats([3], [1, 1, 3]))],
          {},
        );
        return s.op('Where', [chosen, a, b], {});
      },
    },
  ],
};

const runtime = createRuntime({ threads: 2 });

/** loss = Σ result · fixed weights, so that every element of the result has its own gradient. */
async function compare({ shapes, build, values = (x) => x }: Case): Promise<void> {
  const rng = createRng(11);
  const builder = createGraphBuilder('case');
  const operands = shapes.map((shape, i) => builder.root.parameter(`p${i}`, shape, normalInit(1)));
  const result = build(builder.root, operands);
  const sizeOfResult = result.shape.map(Number).reduce((a, b) => a * b, 1);
  const mix = builder.root.constant(
    floats(
      result.shape.map(Number),
      Array.from({ length: sizeOfResult }, () => rng.normal()),
    ),
  );
  const mixed = builder.root.op('Mul', [result, mix], {});
  const axes = result.shape.map((_, i) => i);
  builder.output('loss', axes.length === 0 ? mixed : builder.root.op('ReduceSum', [mixed], { axes, keepdims: 0 }));
  const graph = differentiate(builder.finish());
  const tensors = new Map<string, Tensor<'float32'>>(
    shapes.map((shape, i) => {
      const size = shape.reduce((a, b) => a * b, 1);
      return [
        `p${i}`,
        floats(
          shape,
          Array.from({ length: size }, () => values(rng.normal())),
        ),
      ];
    }),
  );
  const asInputs = { ...graph, parameters: [], inputs: graph.parameters.map(({ name, value }) => ({ name, value })) };
  const session = await runtime.compile(asInputs, { weights: weightsFrom(new Map()) });
  try {
    const lossAt = async (feeds: Record<string, Tensor>) => Number((await session.run(feeds))['loss'].data[0]);
    const feeds = Object.fromEntries(tensors);
    const analytic = await session.run(feeds);
    for (const { name } of graph.parameters) {
      const base = tensors.get(name) as Tensor<'float32'>;
      const gradient = analytic[gradientName(name)];
      assert.deepEqual(gradient.shape, base.shape);
      for (let i = 0; i < base.data.length; i++) {
        const step = 5e-3;
        const moved = (by: number) => ({ ...base, data: base.data.map((x, j) => (j === i ? x + by : x)) });
        const up = await lossAt({ ...feeds, [name]: moved(step) });
        const down = await lossAt({ ...feeds, [name]: moved(-step) });
        const slope = (up - down) / (2 * step);
        const got = Number(gradient.data[i]);
        assert.ok(
          Math.abs(slope - got) <= 4e-3 * Math.max(1, Math.abs(slope)),
          `${name}[${i}]: ${got}, differences say ${slope}`,
        );
      }
    }
  } finally {
    await session.dispose();
  }
}

for (const [op, list] of Object.entries(cases)) {
  if (list === 'none') {
    test(`${op} says that it has no gradient`, () => assert.equal(rules[op as OpName], 'none'));
    continue;
  }
  list.forEach((one, i) => {
    test(`gradient of ${op}, ${one.name ?? `case ${i}`}, against finite differences`, () => compare(one));
  });
}

test('a parameter that the loss does not need gets zeros; a seed takes the place of a loss', async () => {
  const builder = createGraphBuilder('seeded');
  const [a, b] = ['a', 'b'].map((name) => builder.root.parameter(name, [2], normalInit(1)));
  builder.output('y', builder.root.op('Mul', [a, a], {}));
  builder.output('other', b);
  const graph = differentiate(builder.finish(), { output: 'y', seed: 'dy' });
  const weights = new Map([
    ['a', floats([2], [2, 3])],
    ['b', floats([2], [1, 1])],
  ]);
  const session = await runtime.compile(graph, { weights: weightsFrom(weights) });
  const got = await session.run({ dy: floats([2], [1, 10]) });
  await session.dispose();
  assert.deepEqual([...(got['grad.a'].data as Float32Array)], [4, 60]);
  assert.deepEqual([...(got['grad.b'].data as Float32Array)], [0, 0]);
});

test('Identity stops the gradient', async () => {
  const builder = createGraphBuilder('stopped');
  const x = builder.root.parameter('x', [], normalInit(1));
  builder.output('loss', builder.root.op('Mul', [x, builder.root.op('Identity', [x], {})], {}));
  const weights = weightsFrom(new Map([['x', floats([], [3])]]));
  const session = await runtime.compile(differentiate(builder.finish()), { weights });
  const got = await session.run({});
  await session.dispose();
  assert.equal(got['grad.x'].data[0], 3);
});

test("an unmasked pad id teaches its row nothing as an input, as torch's padding_idx", async () => {
  const config = {
    ...opt125m,
    vocabSize: 6,
    width: 8,
    embedWidth: 8,
    layers: 1,
    heads: 2,
    mlpWidth: 8,
    tiedHead: false,
  };
  const trainer = await createTrainer(runtime, readingTask(optFamily({ ...config, maxPositions: 8 })), {
    learningRate: 1,
    schedule: { kind: 'constant', warmupSteps: 0, totalSteps: 1 },
  });
  await trainer.accumulate([{ inputIds: [[1, 4, 1, 3]], labels: [[-100, 4, 1, 3]] }]);
  const { layout, gradients } = trainer.arenas;
  const slot = layout.slots.get('model.decoder.embed_tokens.weight');
  assert.ok(slot);
  const table = viewSlot(gradients, slot).data;
  const learns = Array.from({ length: 6 }, (_, id) => table.subarray(8 * id, 8 * id + 8).some((x) => x !== 0));
  assert.deepEqual(learns, [false, false, false, false, true, false]);
  await trainer.dispose();
});
