import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { deflateRawSync } from 'node:zlib';
import { VaryclipError, WeightsError } from '../../src/core/errors.js';
import { createRng } from '../../src/core/rng.js';
import { memorySource } from '../../src/weights/source.js';
import { openTorch } from '../../src/weights/torch.js';
import { fixtureBytes } from '../helpers/fixtures.js';
import {
  concat,
  type Member,
  op,
  pickleOf,
  stateDict,
  storage,
  storedZip,
  tensorOf,
  torchZip,
} from '../helpers/torch-archive.js';

const floatsOf = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
const open = (bytes: Uint8Array) => openTorch(memorySource('test.bin', bytes));
const openPickle = (value: Uint8Array) => open(torchZip(pickleOf(value), { 0: floatsOf(1, 2, 3, 4) }));
const square = tensorOf({ elements: 4, size: [2, 2], stride: [2, 1] });

async function valuesOf(bytes: Uint8Array, name: string): Promise<unknown> {
  const { dtype, shape, data } = await (await open(bytes)).read(name);
  return { dtype, shape, values: Array.from(data as ArrayLike<number | bigint>) };
}

const command = op.tuple(op.str('touch PWNED'));
/** Callables that scanners of pickles have missed, and how each would be reached. */
const callables = [
  ['os', 'system'],
  ['posix', 'system'],
  ['nt', 'system'],
  ['subprocess', 'Popen'],
  ['subprocess', 'getoutput'],
  ['_posixsubprocess', 'fork_exec'],
  ['builtins', 'eval'],
  ['builtins', 'exec'],
  ['builtins', 'getattr'],
  ['builtins', '__import__'],
  ['__builtin__', 'eval'],
  ['inspect', 'getattr_static'],
  ['importlib', 'import_module'],
  ['marshal', 'loads'],
  ['types', 'FunctionType'],
  ['runpy', '_run_code'],
  ['ctypes', 'CDLL'],
  ['cProfile', 'run'],
  ['timeit', 'timeit'],
  ['pty', 'spawn'],
  ['webbrowser', 'open'],
  ['socket', 'create_connection'],
  ['functools', 'partial'],
  ['operator', 'attrgetter'],
  ['pickle', 'loads'],
  ['_codecs', 'encode'],
  ['copyreg', '_reconstructor'],
  ['numpy.core.multiarray', '_reconstruct'],
  ['torch', 'load'],
  ['torch.storage', '_load_from_bytes'],
  ['torch.serialization', 'load'],
  ['torch.hub', 'load'],
  ['torch.nn.modules.linear', 'Linear'],
  ['__torch__.model', 'CLIP'],
  ['torch', 'os.system'],
  ['torch._utils', 'os.system'],
  ['collections', 'OrderedDict.__init__'],
  ['collections', 'defaultdict'],
  ['torch.FloatStorage', '__new__'],
] as const;

for (const [module, name] of callables) {
  test(`${module}.${name} is refused by name, in every form`, async () => {
    const target = op.global(module, name);
    const forms = [
      op.reduce(target, command),
      op.reduce(op.stackGlobal(module, name), command),
      stateDict({ w: square, z: op.reduce(target, command) }),
      op.build(op.reduce(op.global('collections', 'OrderedDict'), op.tuple()), op.reduce(target, command)),
      op.tuple(op.reduce(op.global('torch', 'Size'), op.tuple(op.reduce(target, command)))),
      concat(op.dict(), target, '0'),
      concat(target, command, '\x81'),
      concat('(', target, op.str('touch PWNED'), 'o'),
      concat('(', op.str('touch PWNED'), `i${module}\n${name}\n`),
    ];
    for (const form of forms.slice(0, 8)) {
      await assert.rejects(openPickle(form), (error: Error) => {
        assert.ok(error instanceof WeightsError);
        assert.ok(error.message.includes(`Python global ${module}.${name},`), error.message);
        return true;
      });
    }
    await assert.rejects(openPickle(forms[8]), { name: 'WeightsError', message: /opcode INST is not allowed/ });
  });
}

const ordered = op.global('collections', 'OrderedDict');
/** Shapes that stay within the allowed names and misuse them. */
const misuses: Record<string, [Uint8Array, RegExp]> = {
  'a module and a name run together': [op.stackGlobal('collections OrderedDict', ''), /Python global/],
  'the space on the other side': [op.stackGlobal('', 'collections OrderedDict'), /Python global/],
  'a name with a NUL': [op.stackGlobal('collections', 'OrderedDict\0'), /Python global "/],
  'a name with a newline': [op.stackGlobal('collections\n', 'OrderedDict'), /Python global "/],
  'a module name that is a number': [concat(op.int(1), op.str('x'), '\x93'), /STACK_GLOBAL without/],
  'a module name swapped through the memo': [
    concat(op.short('collections'), 'q\x00', op.short('os'), 'q\x00', '00', 'h\x00', op.short('system'), '\x93'),
    /Python global os\.system/,
  ],
  'a storage class called': [op.reduce(op.global('torch', 'FloatStorage'), command), /cannot be applied/],
  'a dtype called': [op.reduce(op.global('torch', 'float32'), op.tuple()), /cannot be applied/],
  'a string called': [op.reduce(op.str('eval'), command), /REDUCE of string/],
  'a dict called': [op.reduce(op.dict(), op.tuple()), /REDUCE of dict/],
  'a tensor called': [op.reduce(square, op.tuple()), /REDUCE of tensor/],
  'arguments that are a list': [op.reduce(ordered, op.list()), /with list, expected a global and a tuple/],
  'a class applied by NEWOBJ': [concat(ordered, op.tuple(), '\x81'), /opcode NEWOBJ /],
  'a class applied by NEWOBJ_EX': [concat(ordered, op.tuple(), op.dict(), '\x92'), /opcode NEWOBJ_EX/],
  'a class applied by OBJ': [concat('(', ordered, 'o'), /opcode OBJ/],
  'a class applied by INST': [concat('(icollections\nOrderedDict\n'), /opcode INST/],
  'an extension code': [concat('\x83\x01\x00'), /opcode EXT2/],
  'a long extension code': [concat('\x84\x01\x00\x00\x00'), /opcode EXT4/],
  'an out-of-band buffer': [concat('\x97'), /opcode NEXT_BUFFER/],
  'a persistent id as text': [concat('Pstorage\n'), /opcode PERSID/],
  'a set': [concat('\x8f'), /opcode EMPTY_SET/],
  'an opcode that does not exist': [concat('\xff'), /opcode 0xff/],
  'BUILD of a tensor': [op.build(square, op.dict()), /BUILD of tensor/],
  'BUILD of a global': [op.build(ordered, op.dict()), /BUILD of collections OrderedDict/],
  'BUILD with slots': [op.build(op.dict(), op.tuple(op.none(), op.dict())), /BUILD of dict with tuple/],
  'items set on a global': [concat(ordered, op.str('__init__'), op.none(), 's'), /SETITEM on collections/],
  'a list appended to a dict': [concat(op.dict(), op.none(), 'a'), /APPEND to dict/],
  'a dict as a key': [concat('}', op.dict(), op.none(), 's'), /key is dict/],
  'a key twice': [op.dict([op.str('w'), square], [op.str('w'), square]), /key w occurs twice/],
  'a key without a value': [concat('}(', op.str('w'), 'u'), /no value/],
  'an OrderedDict of what are not pairs': [op.reduce(ordered, op.tuple(op.list(op.int(1)))), /made of pairs/],
  'an OrderedDict of text': [op.reduce(ordered, op.tuple(op.str('ab'))), /expected a list, got string/],
  'a tensor made of text': [rebuild(op.str('storage')), /made of string, expected a storage/],
  'a tensor made of a class': [rebuild(op.global('torch', 'FloatStorage')), /made of torch FloatStorage/],
  'a parameter made of nothing': [op.reduce(op.global('torch._utils', '_rebuild_parameter'), op.tuple()), /got None/],
  'a persistent id that is a path': [concat(op.str('/etc/passwd'), 'Q'), /description of a storage, got string/],
  'a persistent module': [concat(op.tuple(op.str('module'), ordered, op.str('a'), op.str('b')), 'Q'), /of a storage/],
  'a storage of a class that is none': [
    concat(op.tuple(op.str('storage'), ordered, op.str('0'), op.str('cpu'), op.int(4)), 'Q'),
    /of a storage, got collections/,
  ],
  'a storage of a negative size': [storage({ elements: -4 }), /impossible number/],
  'a storage past 2^53': [storage({ elements: 2 ** 52 }), /impossible number/],
  'one storage described twice': [
    op.tuple(storage({ elements: 4 }), storage({ elements: 16, type: 'ByteStorage' })),
    /described twice/,
  ],
  'a mark that is not there': [concat(op.int(1), 't'), /no MARK/],
  'a value from below the mark': [concat(op.int(1), '(', '0'), /stack is empty/],
  'a future protocol': [concat(op.proto(9), op.none()), /protocol 9/],
  'two values at the end': [concat(op.dict(), op.dict()), /ends with 2 values/],
  'an integer of a thousand bytes': [concat('\x8b\xe8\x03\x00\x00', new Uint8Array(1000)), /integer of 1000 bytes/],
  'text that is not UTF-8': [concat('X\x02\x00\x00\x00\xff\xfe'), /expected UTF-8/],
  'a global without an end': [concat('c', 'a'.repeat(600)), /no end within/],
};

function rebuild(first: Uint8Array): Uint8Array {
  const args = op.tuple(first, op.int(0), op.tuple(op.int(2)), op.tuple(op.int(1)), op.bool(false), op.none());
  return op.reduce(op.global('torch._utils', '_rebuild_tensor_v2'), args);
}

for (const [what, [value, message]] of Object.entries(misuses)) {
  test(`refused: ${what}`, async () => {
    await assert.rejects(openPickle(value), { name: 'WeightsError', message });
  });
}

test('what training keeps beside tensors is passed over: counters, devices, sets, numbers, keys that are None', async () => {
  const beside = op.dict(
    [op.str('milestones'), op.reduce(op.global('collections', 'Counter'), op.tuple(op.dict([op.int(3), op.int(1)])))],
    [op.str('device'), op.reduce(op.global('torch', 'device'), op.tuple(op.str('cuda'), op.int(0)))],
    [op.str('skip'), op.reduce(op.global('__builtin__', 'set'), op.tuple(op.list(op.str('a'))))],
    [op.none(), op.reduce(op.global('builtins', 'complex'), op.tuple(op.int(1), op.int(2)))],
  );
  const opened = await openPickle(
    op.dict([op.str('model'), stateDict({ w: square })], [op.str('lr_scheduler'), beside]),
  );
  assert.deepEqual(opened.names, ['w']);
});

test("refused: a tensor with torch's negative or conjugate bit, whose storage has other values", async () => {
  for (const bit of ['neg', 'conj']) {
    const marks = op.dict([op.str(bit), op.bool(true)]);
    const args = op.tuple(
      storage({ elements: 4 }),
      op.int(0),
      op.tuple(op.int(4)),
      op.tuple(op.int(1)),
      op.bool(false),
      op.none(),
      marks,
    );
    const tensor = op.reduce(op.global('torch._utils', '_rebuild_tensor_v2'), args);
    await assert.rejects(openPickle(stateDict({ w: tensor })), {
      name: 'WeightsError',
      message: new RegExp(`resolve_${bit}`),
    });
  }
});

const badViews: Record<string, [Parameters<typeof tensorOf>[0], RegExp]> = {
  'more elements than the storage': [{ elements: 4, size: [5], stride: [1] }, /5 elements over the 4/],
  'a stride past the end': [{ elements: 4, size: [2, 2], stride: [3, 1] }, /ends at element 5 of the 4/],
  'an offset past the end': [{ elements: 4, offset: 3, size: [2], stride: [1] }, /ends at element 5/],
  'an empty view after the end': [{ elements: 4, offset: 5, size: [0], stride: [1] }, /ends at element 5/],
  'a stride of 0 that multiplies': [{ elements: 4, size: [1 << 20, 4], stride: [0, 1] }, /4194304 elements/],
  'sizes whose product overflows': [{ elements: 4, size: [2 ** 30, 2 ** 30], stride: [0, 0] }, /Infinity elements/],
  'strides that overflow': [{ elements: 4, size: [2, 2], stride: [2 ** 52, 2 ** 52] }, /ends at element/],
  'a negative size': [{ elements: 4, size: [-2, -2], stride: [2, 1] }, /size that is not/],
  'a negative stride': [{ elements: 4, size: [2], stride: [-1] }, /stride that is not/],
  'a negative offset': [{ elements: 4, offset: -1, size: [2], stride: [1] }, /offset that is not/],
  'more sizes than strides': [{ elements: 4, size: [2, 2], stride: [1] }, /2 sizes and 1 strides/],
  'a storage that is not in the file': [{ elements: 4, key: '9', size: [2], stride: [1] }, /got none/],
  'a storage of another size': [{ elements: 3, size: [2], stride: [1] }, /12 bytes of storage 0.*got 16 bytes/],
  'a storage of another type': [{ elements: 4, type: 'LongStorage', size: [4], stride: [1] }, /32 bytes of storage 0/],
};

for (const [what, [view, message]] of Object.entries(badViews)) {
  test(`refused: a tensor with ${what}`, async () => {
    await assert.rejects(openPickle(stateDict({ w: tensorOf(view) })), { name: 'WeightsError', message });
  });
}

test('views of one storage: dense, transposed, offset, strided, a scalar, repeated, empty', async () => {
  const six = (size: number[], stride: number[], offset = 0) => tensorOf({ elements: 6, offset, size, stride });
  const pickle = pickleOf(
    stateDict({
      dense: six([2, 3], [3, 1]),
      transposed: six([3, 2], [1, 3]),
      offset: six([2], [1], 4),
      column: six([2], [3], 1),
      scalar: six([], [], 5),
      repeated: six([3, 2], [0, 1], 2),
      empty: six([0, 7], [7, 1], 6),
      ones: six([1, 3, 1], [99, 1, 77]),
    }),
  );
  const file = torchZip(pickle, { 0: floatsOf(10, 11, 12, 13, 14, 15) });
  const values = async (name: string) => {
    const { shape, values } = (await valuesOf(file, name)) as { shape: number[]; values: number[] };
    return [shape, values];
  };
  assert.deepEqual(await values('dense'), [
    [2, 3],
    [10, 11, 12, 13, 14, 15],
  ]);
  assert.deepEqual(await values('transposed'), [
    [3, 2],
    [10, 13, 11, 14, 12, 15],
  ]);
  assert.deepEqual(await values('offset'), [[2], [14, 15]]);
  assert.deepEqual(await values('column'), [[2], [11, 14]]);
  assert.deepEqual(await values('scalar'), [[], [15]]);
  assert.deepEqual(await values('repeated'), [
    [3, 2],
    [12, 13, 12, 13, 12, 13],
  ]);
  assert.deepEqual(await values('empty'), [[0, 7], []]);
  assert.deepEqual(await values('ones'), [
    [1, 3, 1],
    [10, 11, 12],
  ]);
});

test('every dtype keeps its bits when it is transposed', async () => {
  const cases = [
    ['LongStorage', 'int64', BigInt64Array.of(-1n, 2n ** 62n, -(2n ** 63n), 4n)],
    ['DoubleStorage', 'float64', Float64Array.of(0.1, -2, 3e300, 4)],
    ['FloatStorage', 'float32', Float32Array.of(0.5, -2, 3, 4)],
    ['IntStorage', 'int32', Int32Array.of(-1, 2, 3, -(2 ** 31))],
    ['HalfStorage', 'float16', Uint16Array.of(0x3c00, 0x7e01, 3, 0xfc00)],
    ['BFloat16Storage', 'bfloat16', Uint16Array.of(0x3f80, 0x7fc1, 3, 4)],
    ['ShortStorage', 'int16', Int16Array.of(-1, 2, 3, 4)],
    ['CharStorage', 'int8', Int8Array.of(-1, 2, 3, 4)],
    ['ByteStorage', 'uint8', Uint8Array.of(255, 2, 3, 4)],
    ['BoolStorage', 'bool', Uint8Array.of(1, 0, 0, 1)],
  ] as const;
  for (const [type, dtype, data] of cases) {
    const pickle = pickleOf(stateDict({ w: tensorOf({ type, elements: 4, size: [2, 2], stride: [1, 2] }) }));
    const [a, b, c, d] = data;
    assert.deepEqual(await valuesOf(torchZip(pickle, { 0: new Uint8Array(data.buffer) }), 'w'), {
      dtype,
      shape: [2, 2],
      values: [a, c, b, d],
    });
  }
});

test('untyped storages take the dtype that the tensor names', async () => {
  const named = (dtype: string) =>
    op.reduce(
      op.global('torch._utils', '_rebuild_tensor_v3'),
      op.tuple(
        storage({ type: 'UntypedStorage', elements: 8 }),
        op.int(1),
        op.tuple(op.int(3)),
        op.tuple(op.int(1)),
        op.bool(false),
        op.none(),
        op.global('torch', dtype),
        op.none(),
      ),
    );
  const words = new Uint8Array(Uint16Array.of(7, 65535, 9, 10).buffer);
  assert.deepEqual(await valuesOf(torchZip(pickleOf(stateDict({ w: named('uint16') })), { 0: words }), 'w'), {
    dtype: 'uint16',
    shape: [3],
    values: [65535, 9, 10],
  });
  await assert.rejects(
    open(torchZip(pickleOf(stateDict({ w: named('int64') })), { 0: words })),
    /3 elements over the 1/,
  );
  await assert.rejects(open(torchZip(pickleOf(stateDict({ w: named('qint8') })), { 0: words })), /torch\.qint8/);
});

test('what a state dict of torch has besides: OrderedDict, its attributes, parameters, counters, sizes', async () => {
  const parameter = op.reduce(
    op.global('torch._utils', '_rebuild_parameter'),
    op.tuple(square, op.bool(true), op.reduce(ordered, op.tuple())),
  );
  const size = op.reduce(op.global('torch', 'Size'), op.tuple(op.tuple(op.int(2), op.int(2))));
  const filled = concat(
    op.reduce(ordered, op.tuple()),
    '(',
    op.str('w'),
    parameter,
    op.str('n'),
    op.int(3),
    op.str('s'),
    size,
    'u',
  );
  const root = op.build(filled, op.dict([op.str('_metadata'), op.reduce(ordered, op.tuple())]));
  const checkpoint = await openPickle(root);
  assert.deepEqual(checkpoint.names, ['w']);
  assert.deepEqual(checkpoint.info('w').shape, [2, 2]);
  assert.deepEqual([...(await checkpoint.read('w')).data], [1, 2, 3, 4]);
  const pairs = op.reduce(ordered, op.tuple(op.list(op.tuple(op.str('a'), square), op.list(op.str('b'), square))));
  assert.deepEqual((await openPickle(pairs)).names, ['a', 'b']);
});

test('a training checkpoint: the one dict of tensors under a known key', async () => {
  const weights = stateDict({ w: square });
  const names = async (entries: Record<string, Uint8Array>) => (await openPickle(stateDict(entries))).names;
  assert.deepEqual(await names({ model: weights, optimizer: stateDict({ x: square }), epoch: op.int(3) }), ['w']);
  assert.deepEqual(await names({ state_dict: weights, loss: square }), ['w']);
  assert.deepEqual(await names({ model_state_dict: weights }), ['w']);
  assert.deepEqual(await names({}), []);
  await assert.rejects(names({ model: weights, state_dict: weights }), /got several/);
  await assert.rejects(names({ weights, epoch: op.int(1) }), /got one with the keys weights, epoch/);
  await assert.rejects(openPickle(op.dict([op.int(5), square])), /expected tensors to have names, got the key 5/);
});

test('opening reads the directory and the pickle; a tensor reads its own bytes', async () => {
  const big = new Uint8Array(1 << 20).fill(1);
  const view = tensorOf({ elements: 1 << 18, offset: 1000, size: [4], stride: [1] });
  const file = torchZip(pickleOf(stateDict({ w: view })), { 0: big });
  let read = 0;
  const inner = memorySource('test.bin', file);
  const source = {
    ...inner,
    read: (at: number, length: number) => {
      read += length;
      return inner.read(at, length);
    },
  };
  const checkpoint = await openTorch(source);
  assert.deepEqual(checkpoint.info('w'), { dtype: 'float32', shape: [4] });
  assert.ok(read < 140_000, `opening read ${read} bytes`);
  read = 0;
  assert.equal((await checkpoint.read('w')).data.length, 4);
  assert.ok(read < 100, `reading 16 bytes read ${read}`);
});

test('a whole storage is checked against its checksum, and a name that is not there is refused', async () => {
  const file = torchZip(pickleOf(stateDict({ w: square })), { 0: floatsOf(1, 2, 3, 4) });
  const at = Buffer.from(file).indexOf(Buffer.from(floatsOf(1, 2)));
  file[at] ^= 1;
  const checkpoint = await open(file);
  await assert.rejects(checkpoint.read('w'), {
    name: 'WeightsError',
    message: /checksum of archive\/data\/0 is wrong/,
  });
  await assert.rejects(checkpoint.read('__proto__'), {
    name: 'WeightsError',
    message: /no tensor is called __proto__/,
  });
  assert.throws(() => checkpoint.info('constructor'), { name: 'WeightsError' });
});

/** An archive of torch.jit.save around the attributes of its module. */
function scriptArchive(root: Uint8Array, code: readonly Member[] = []): Uint8Array {
  const data = ['a/data/0', floatsOf(1, 2, 3, 4)] as const;
  return storedZip([['a/data.pkl', pickleOf(root)], ['a/constants.pkl', pickleOf(op.tuple())], data, ...code]);
}

test('a TorchScript archive gives its tensors, and its program is not looked at', async () => {
  const own = (...attributes: (readonly [Uint8Array, Uint8Array])[]) =>
    op.build(op.object('__torch__.model', 'Part'), op.dict(...attributes));
  const ints = op.reduce(op.global('torch.jit._pickle', 'build_intlist'), op.tuple(op.list(op.int(1))));
  const inner = own([op.str('0'), own([op.str('weight'), square])], [op.str('training'), op.bool(false)]);
  const root = own([op.str('visual'), inner], [op.str('sizes'), ints], [op.str('scale'), square]);
  const program = Buffer.from('def forward(self): os.system()'.repeat(20));
  const bytes = scriptArchive(root, [['a/code/__torch__.py', program, deflateRawSync(program)]]);
  assert.deepEqual((await open(bytes)).names, ['visual.0.weight', 'scale']);
  assert.deepEqual((await valuesOf(bytes, 'visual.0.weight')) as { values: number[] }, {
    dtype: 'float32',
    shape: [2, 2],
    values: [1, 2, 3, 4],
  });
});

test('what is no tensor of a TorchScript archive stays refused', async () => {
  const evil = op.build(op.object('os', 'system'), op.dict());
  await assert.rejects(open(scriptArchive(evil)), /names the Python global os\.system/);
  const called = op.reduce(op.global('__torch__.model', 'Part'), op.tuple(op.str('x')));
  await assert.rejects(open(scriptArchive(called)), /cannot be applied to arguments/);
  await assert.rejects(openPickle(op.object('__torch__.model', 'Part')), /names the Python global/);
  const loop = concat(op.object('__torch__', 'A'), 'q\x00', '}(', op.str('self'), 'h\x00', 'ub');
  await assert.rejects(open(scriptArchive(loop)), /one within itself/);
  const plain = Buffer.from('x'.repeat(100));
  const data: Member = ['a/data/1', plain, deflateRawSync(plain)];
  await assert.rejects(open(scriptArchive(op.dict(), [data])), /a\/data\/1 is compressed/);
});

test('archives that are not of torch.save say what they are', async () => {
  const data: [string, Uint8Array] = ['a/data.pkl', pickleOf(op.dict())];
  await assert.rejects(open(storedZip([data, ['b/data.pkl', data[1]]])), /one data\.pkl in the archive, got 2/);
  await assert.rejects(open(storedZip([['data.pkl', data[1]]])), /one data\.pkl in the archive, got 0/);
  await assert.rejects(open(storedZip([data, ['a/byteorder', Buffer.from('big')]])), /little-endian data, got big/);
  await assert.rejects(open(storedZip([data, ['a/version', Buffer.from('x')]])), /archive version/);
  await assert.rejects(open(storedZip([['a/data.pkl', concat(data[1], 'tail')]])), /pickle to end at byte/);
  await assert.rejects(open(Buffer.from('version https://git-lfs')), /expected a zip archive or a pickle/);
  await assert.rejects(open(new Uint8Array(0)), WeightsError);
});

test('the layout before torch 1.6: five pickles and the storages', async () => {
  const tail = concat(Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0), floatsOf(5, 6));
  const magic = concat('\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19');
  const legacy = ({
    protocol = 1001,
    little = true,
    keys = op.list(op.str('k')) as Uint8Array,
    data = tail as Uint8Array,
    view = op.none() as Uint8Array,
  } = {}) => {
    const pid = op.tuple(
      op.str('storage'),
      op.global('torch', 'FloatStorage'),
      op.str('k'),
      op.str('cpu'),
      op.int(2),
      view,
    );
    const system = op.dict([op.str('little_endian'), op.bool(little)]);
    const root = stateDict({ w: rebuild(concat(pid, 'Q')) });
    return concat(...[magic, op.int(protocol), system, root, keys].map((value) => pickleOf(value)), data);
  };
  assert.deepEqual(await valuesOf(legacy(), 'w'), { dtype: 'float32', shape: [2], values: [5, 6] });
  await assert.rejects(open(legacy({ protocol: 1000 })), /protocol 1001/);
  await assert.rejects(open(legacy({ little: false })), /little-endian/);
  await assert.rejects(open(legacy({ keys: op.list() })), /the data to end at byte/);
  await assert.rejects(open(legacy({ keys: op.list(), data: new Uint8Array(0) })), /storage k is not in the file/);
  await assert.rejects(open(legacy({ keys: op.list(op.str('k'), op.str('k')) })), /names one twice/);
  await assert.rejects(open(legacy({ keys: op.list(op.str('other')) })), /names one twice, or one that no tensor uses/);
  await assert.rejects(open(legacy({ keys: op.int(1) })), /list of storages/);
  await assert.rejects(open(legacy({ data: concat(Uint8Array.of(3), tail.subarray(1)) })), /expected 2 elements/);
  await assert.rejects(open(legacy({ data: tail.subarray(0, 12) })), /the data to end at byte/);
  await assert.rejects(open(legacy({ data: concat(tail, 'x') })), /the data to end at byte/);
  await assert.rejects(open(legacy({ view: op.tuple(op.str('v'), op.int(0), op.int(1)) })), /part of another storage/);
});

test('deep nesting, shared lists and cycles end', async () => {
  const deep = concat('('.repeat(100_000), 't'.repeat(100_000));
  await assert.rejects(openPickle(deep), /expected a dict of tensors, got tuple/);
  const cycle = concat(op.dict(), 'q\x00', op.str('model'), 'h\x00', 's');
  await assert.rejects(openPickle(cycle), /got one with the keys model/);
  const bomb = concat(
    ...Array.from({ length: 40 }, (_, i) =>
      concat(
        '(',
        i === 0 ? op.none() : `0h${String.fromCharCode(i - 1)}`,
        'h\x00'.repeat(i === 0 ? 0 : 9),
        `lq${String.fromCharCode(i)}`,
      ),
    ),
  );
  await assert.rejects(openPickle(bomb), WeightsError);
});

/** Opens and reads everything; the only error that may come out is a typed one. */
async function survives(bytes: Uint8Array, what: string): Promise<boolean> {
  try {
    const checkpoint = await open(bytes);
    for (const name of checkpoint.names) await checkpoint.read(name);
    return true;
  } catch (error) {
    assert.ok(error instanceof VaryclipError, `${what}: ${error instanceof Error ? error.stack : error}`);
    return false;
  }
}

for (const file of ['hand-made.bin', 'legacy.bin']) {
  const original = fixtureBytes(`malicious-checkpoints/ok/${file}`);

  test(`${file} cut off anywhere is refused`, async () => {
    for (let length = 0; length < original.length; length++) {
      assert.equal(
        await survives(original.slice(0, length), `${file} cut to ${length}`),
        false,
        `${length} bytes loaded`,
      );
    }
  });

  test(`${file} with random bytes changed gives typed errors only`, async () => {
    const rng = createRng(7, original.length);
    let refused = 0;
    for (let round = 0; round < 10_000; round++) {
      const bytes = Uint8Array.from(original);
      for (let k = rng.integer(1, 5); k > 0; k--) bytes[rng.integer(0, bytes.length)] = rng.integer(0, 256);
      if (!(await survives(bytes, `${file} round ${round}`))) refused++;
    }
    assert.ok(refused > 5000, `only ${refused} of 10000 were refused`);
  });
}

test('a flipped byte of a zip checkpoint either is found or changes no value', async () => {
  const original = fixtureBytes('malicious-checkpoints/ok/hand-made.bin');
  for (let at = 0; at < original.length; at++) {
    const bytes = Uint8Array.from(original);
    bytes[at] ^= 0x55;
    const loaded = await valuesOf(bytes, 'w').catch(() => undefined);
    if (loaded !== undefined)
      assert.deepEqual(loaded, { dtype: 'float32', shape: [2, 2], values: [1, 2, 3, 4] }, `byte ${at}`);
  }
});

test('the reader has no way to call what a file names', () => {
  const folder = fileURLToPath(new URL('../../../src/weights/', import.meta.url));
  for (const name of readdirSync(folder)) {
    const text = readFileSync(`${folder}${name}`, 'utf8');
    assert.doesNotMatch(text, /\beval\b\(|new Function|import\(|globalThis|Reflect\.|\.constructor\b/, name);
  }
});
