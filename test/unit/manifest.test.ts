import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DType } from '../../src/core/dtype.js';
import { WeightsError } from '../../src/core/errors.js';
import type { Checkpoint } from '../../src/weights/checkpoint.js';
import { checkManifest, type RequiredTensor } from '../../src/weights/manifest.js';

type Infos = Readonly<Record<string, readonly [dtype: DType, ...shape: number[]]>>;

function checkpointOf(infos: Infos): Checkpoint {
  return {
    name: 'here',
    names: Object.keys(infos),
    metadata: new Map(),
    info: (name) => ({ dtype: infos[name][0], shape: infos[name].slice(1) as number[] }),
    read: () => assert.fail('a check reads no data'),
    dispose: () => {},
  };
}

/** Names to shapes, of any floating-point type but where a dtype stands before the shape. */
type Needed = Readonly<Record<string, readonly (number | DType)[]>>;

const needed = (required: Needed) =>
  Object.entries(required).map(([name, given]): [string, RequiredTensor] => {
    const [dtype] = given;
    const shape = given.filter((extent) => typeof extent === 'number');
    return [name, { dtype: typeof dtype === 'string' ? dtype : 'float', shape }];
  });

const check = (required: Needed, infos: Infos) =>
  checkManifest(new Map(needed(required)), {
    checkpoint: checkpointOf(infos),
    names: new Map(Object.keys(infos).map((name) => [name.replace('theirs.', 'ours.'), name])),
  });

const refused = (act: () => void, message: RegExp) =>
  assert.throws(act, (error) => {
    assert.ok(error instanceof WeightsError);
    assert.match(error.message, /^here: the tensors are not those of the model its config.json describes:\n/);
    assert.match(error.message, message);
    return true;
  });

test('exactly the tensors that are needed pass, in any floating-point type and under their own names', () => {
  check({}, {});
  check({ a: [2, 3], 'ours.b': [], c: [0] }, { a: ['bfloat16', 2, 3], 'theirs.b': ['float16'], c: ['float64', 0] });
});

test('missing, unexpected and misshapen are listed together', () => {
  const act = () =>
    check({ a: [2], b: [3], 'ours.c': [4] }, { b: ['float32', 3, 1], 'theirs.c': ['float32', 4], d: ['float32'] });
  refused(
    act,
    /missing \(1\):\n {4}a\n {2}unexpected \(1\):\n {4}d\n {2}misshapen \(1\):\n {4}b: expected \[3\], got float32 \[3,1\]$/,
  );
});

test('shapes of the same size are not the same', () => {
  refused(() => check({ a: [2, 3] }, { a: ['float32', 3, 2] }), /expected \[2,3\], got float32 \[3,2\]/);
  refused(() => check({ a: [6] }, { a: ['float32', 2, 3] }), /misshapen/);
  refused(() => check({ a: [] }, { a: ['float32', 1] }), /expected \[\], got float32 \[1\]/);
});

test('dtypes: floats, except where another one is needed', () => {
  refused(() => check({ a: [1] }, { a: ['int8', 1] }), /got int8 \[1\]/);
  check({ levels: ['int8', 4, 64], scales: ['float32', 1] }, { levels: ['int8', 4, 64], scales: ['float32', 1] });
  refused(() => check({ levels: ['int8', 1] }, { levels: ['uint8', 1] }), /expected int8 \[1\], got uint8 \[1\]/);
  refused(() => check({ scales: ['float32', 1] }, { scales: ['bfloat16', 1] }), /got bfloat16 \[1\]/);
});

test('long lists are cut', () => {
  const required = Object.fromEntries(Array.from({ length: 25 }, (_, i) => [`w${i}`, [1]]));
  refused(() => check(required, {}), /missing \(25\):\n( {4}w\d\n){10} {4}and 15 more$/);
});
