import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { ShapeError } from '../../src/core/errors.js';
import { createGraphBuilder } from '../../src/graph/builder.js';
import {
  addDims,
  broadcastShapes,
  type Dim,
  divideDims,
  floorDivideDims,
  multiplyDims,
  substitute,
} from '../../src/graph/dims.js';
import { add, matMul, reshape } from '../../src/graph/functions.js';
import { printGraph } from '../../src/graph/print.js';
import { cachedDecoderGraph, towerGraphs, varyFamily, wholeGraph } from '../../src/models/graphs.js';
import { varyConfigFrom } from '../../src/models/vary.js';
import { conv2d } from '../../src/nn/conv.js';
import { fixtureJson, fixturePath } from '../helpers/fixtures.js';

test('symbolic extents are polynomials in canonical form', () => {
  assert.equal(multiplyDims('b', addDims('t', 1)), 'b+b*t');
  assert.equal(addDims(multiplyDims(2, 'b'), multiplyDims(-2, 'b')), 0);
  assert.equal(divideDims(multiplyDims(12, multiplyDims('b', 't')), multiplyDims('t', 4)), '3*b');
  assert.equal(divideDims('b', 't'), undefined);
  assert.equal(divideDims(7, 2), undefined);
  assert.equal(floorDivideDims('8*w-1', 2), '4*w-1');
  assert.equal(floorDivideDims('3*w+4', 2), undefined);
  assert.equal(floorDivideDims(7, 2), 3);
  assert.equal(substitute('2*b*t+1', new Map([['b', 3]])), '6*t+1');
  assert.equal(
    substitute(
      'b*t',
      new Map([
        ['b', 3],
        ['t', 4],
      ]),
    ),
    12,
  );
  assert.deepEqual(broadcastShapes(['b', 1, 4], [3, 1]), ['b', 3, 4]);
  assert.equal(broadcastShapes([2], [3]), undefined);
});

test('a convolution over a picture of any width is as wide as its steps', () => {
  const builder = createGraphBuilder('g');
  const over = (width: Dim, stride: number) =>
    conv2d(
      builder.root.at(`${width}.${stride}`),
      builder.input(`x${width}${stride}`, 'float32', [1, 2, 9, width]),
      4,
      3,
      {
        stride: [stride, stride],
        padding: 1,
      },
    ).shape;
  assert.deepEqual(over('8*w', 1), [1, 4, 9, '8*w']);
  assert.deepEqual(over('8*w', 2), [1, 4, 5, '4*w']);
  assert.deepEqual(over(24, 2), [1, 4, 5, 12]);
  assert.throws(() => over('w', 2), /Conv at w\.2: expected an extent in whole steps of 2, got w\+2/);
});

test('shape errors name op, place, expected and got', () => {
  const builder = createGraphBuilder('g');
  const at = builder.root.at('blocks').at(3).at('attn');
  const a = builder.input('a', 'float32', [196, 768]);
  const b = builder.input('b', 'float32', [512, 2304]);
  assert.throws(() => matMul(at, a, b), /MatMul at blocks\.3\.attn: expected equal inner extents.*768.*512/);
  assert.throws(() => add(at, a, builder.input('c', 'int64', [196, 768])), /one dtype/);
  assert.throws(() => reshape(at, a, [100]), ShapeError);
  assert.throws(
    () =>
      at.parameter('w', [2], { kind: 'constant', value: 0 }) && at.parameter('w', [3], { kind: 'constant', value: 0 }),
    ShapeError,
  );
  assert.throws(() => builder.finish(['nowhere']), /no tap nowhere/);
});

test('nodes and parameters that no output needs are left out', () => {
  const builder = createGraphBuilder('g');
  const x = builder.input('x', 'float32', [2]);
  const unused = builder.root.parameter('unused', [2], { kind: 'constant', value: 0 });
  add(builder.root, x, unused);
  builder.output('y', add(builder.root, x, x));
  const graph = builder.finish();
  assert.equal(graph.nodes.length, 1);
  assert.equal(graph.parameters.length, 0);
});

const tiny = varyConfigFrom(fixtureJson('vary-tiny/checkpoint/config.json'), 'config.json');
const family = varyFamily(tiny);
const graphs = {
  decoder: () => cachedDecoderGraph(family),
  tower: () => towerGraphs(tiny)[0],
  whole: () => wholeGraph(family, { images: 1, loss: true, taps: [] }),
};

for (const [name, build] of Object.entries(graphs)) {
  test(`replay: the ${name} graph of the tiny model is as it was`, () => {
    const path = fixturePath(`graphs/vary-tiny.${name}.txt`);
    const printed = printGraph(build());
    if (process.env['UPDATE_GRAPHS'] === '1') writeFileSync(path, printed);
    assert.ok(existsSync(path), 'run with UPDATE_GRAPHS=1 once and check the file in');
    assert.equal(printed, readFileSync(path, 'utf8'));
  });
}
