import { crc32 } from '../../src/weights/zip.js';

/** Files of torch.save built byte by byte, so that every number in them can be wrong. */

/** With `deflated` the member is stored as that. */
export type Member = readonly [name: string, content: Uint8Array, deflated?: Uint8Array];

const bytes = (...values: number[]) => Uint8Array.from(values);

export function concat(...parts: readonly (Uint8Array | string)[]): Uint8Array {
  return Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)));
}

function le(size: 1 | 2 | 4 | 8, value: number): Uint8Array {
  const out = Buffer.alloc(8);
  out.writeBigInt64LE(BigInt(value));
  return out.subarray(0, size);
}

/** A zip archive of stored members, but for those that are given deflated. */
export function storedZip(members: readonly Member[]): Uint8Array {
  const locals: Uint8Array[] = [];
  const entries: Uint8Array[] = [];
  let at = 0;
  for (const [name, content, deflated] of members) {
    const label = Buffer.from(name);
    const fields = concat(
      le(4, 0),
      le(4, crc32(content)),
      le(4, (deflated ?? content).length),
      le(4, content.length),
      le(2, label.length),
    );
    const method = concat(le(2, 0), le(2, deflated ? 8 : 0));
    const local = concat('PK\x03\x04', le(2, 20), method, fields, le(2, 0), label, deflated ?? content);
    entries.push(concat('PK\x01\x02', le(4, 20), method, fields, new Uint8Array(12), le(4, at), label));
    locals.push(local);
    at += local.length;
  }
  const directory = concat(...entries);
  const count = le(2, members.length);
  return concat(
    ...locals,
    directory,
    'PK\x05\x06',
    le(4, 0),
    count,
    count,
    le(4, directory.length),
    le(4, at),
    le(2, 0),
  );
}

/** torch.save's zip layout. */
export function torchZip(pickle: Uint8Array, storages: Readonly<Record<string, Uint8Array>> = {}): Uint8Array {
  const data = Object.entries(storages).map(([key, content]) => [`archive/data/${key}`, content] as const);
  return storedZip([['archive/data.pkl', pickle], ...data, ['archive/version', Buffer.from('3\n')]]);
}

/** Opcodes. Each returns the bytes that leave one value on the stack, unless it says otherwise. */
export const op = {
  proto: (version = 2) => bytes(0x80, version),
  none: () => bytes(0x4e),
  bool: (value: boolean) => bytes(value ? 0x88 : 0x89),
  int: (value: number) => concat(bytes(0x8a, 8), le(8, value)),
  str: (value: string) => concat('X', le(4, Buffer.byteLength(value)), Buffer.from(value)),
  short: (value: string) => concat(bytes(0x8c, Buffer.byteLength(value)), Buffer.from(value)),
  blob: (value: Uint8Array) => concat('B', le(4, value.length), value),
  tuple: (...items: Uint8Array[]) => concat('(', ...items, 't'),
  list: (...items: Uint8Array[]) => concat('(', ...items, 'l'),
  dict: (...pairs: (readonly [Uint8Array, Uint8Array])[]) => concat('}(', ...pairs.flat(), 'u'),
  global: (module: string, name: string) => concat('c', `${module}\n${name}\n`),
  stackGlobal: (module: string, name: string) => concat(op.short(module), op.short(name), bytes(0x93)),
  reduce: (callee: Uint8Array, args: Uint8Array) => concat(callee, args, 'R'),
  object: (module: string, name: string) => concat(op.global(module, name), ')', bytes(0x81)),
  build: (target: Uint8Array, state: Uint8Array) => concat(target, state, 'b'),
};

/** A pickle of one value. */
export function pickleOf(value: Uint8Array, version = 2): Uint8Array {
  return concat(op.proto(version), value, '.');
}

export interface View {
  type?: string;
  key?: string;
  elements: number;
  offset?: number;
  size: readonly number[];
  stride: readonly number[];
}

/** The persistent id of a storage. */
export function storage({ type = 'FloatStorage', key = '0', elements }: Omit<View, 'size' | 'stride'>): Uint8Array {
  return concat(
    op.tuple(op.str('storage'), op.global('torch', type), op.str(key), op.str('cpu'), op.int(elements)),
    'Q',
  );
}

/** A tensor as torch 1.6 and newer pickles it. */
export function tensorOf(view: View): Uint8Array {
  const numbers = (values: readonly number[]) => op.tuple(...values.map(op.int));
  const hooks = op.reduce(op.global('collections', 'OrderedDict'), op.tuple());
  const { offset = 0, size, stride } = view;
  const args = op.tuple(storage(view), op.int(offset), numbers(size), numbers(stride), op.bool(false), hooks);
  return op.reduce(op.global('torch._utils', '_rebuild_tensor_v2'), args);
}

/** A pickled dict of values. */
export function stateDict(entries: Readonly<Record<string, Uint8Array>>): Uint8Array {
  return op.dict(...Object.entries(entries).map(([name, value]) => [op.str(name), value] as const));
}
