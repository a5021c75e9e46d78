import { WeightsError } from '../core/errors.js';
import { decodeUtf8, isExtent, shown, viewOf } from './source.js';

/** What a pickle can hold here. All of it is inert: there is no value that can be called. */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickleTuple
  | PickleList
  | PickleDict
  | PickleSymbol
  | PickleRecord;

export interface PickleTuple {
  readonly kind: 'tuple';
  readonly items: readonly PickleValue[];
}
export interface PickleList {
  readonly kind: 'list';
  readonly items: PickleValue[];
}
export interface PickleDict {
  readonly kind: 'dict';
  readonly entries: Map<PickleValue, PickleValue>;
}
/** A Python global that is on the list, known by name only. */
export interface PickleSymbol {
  readonly kind: 'symbol';
  readonly name: string;
}
/** What the vocabulary makes; the machine only passes it on. */
export interface PickleRecord {
  readonly kind: 'record';
  readonly of: string;
}

/** The globals a pickle may name, as `module name`. Everything else is refused. */
export interface PickleVocabulary {
  /** What REDUCE makes of a global and its arguments; 'name' where a global may be named but not applied. */
  readonly symbols: ReadonlyMap<string, ((args: readonly PickleValue[]) => PickleValue) | 'name'>;
  readonly persistent: (id: PickleValue) => PickleValue;
  /** Whether objects of a class may stand in the pickle, as attributes without any behaviour. Default: of none. */
  readonly isClass?: (module: string) => boolean;
}

/** An object of a class that the vocabulary lets stand: its attributes, and nothing that could be called. */
export interface PickleObject extends PickleRecord {
  readonly of: 'object';
  readonly attributes: PickleDict;
}

interface Machine {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly vocabulary: PickleVocabulary;
  readonly stack: PickleValue[];
  /** Heights of the stack at each open MARK: nothing below the last one can be popped. */
  readonly marks: number[];
  readonly memo: Map<number, PickleValue>;
  at: number;
  containersLeft: number;
}

type Operation = (machine: Machine) => void;

const highestProtocol = 5;
const stopCode = 0x2e;
const maxOperations = 2_000_000;
const maxContainers = 250_000;
const maxGlobalBytes = 512;
const maxIntegerBytes = 64;

/**
 * Runs one pickle (Python's pickletools documents the opcodes) that starts at `start`. Opcodes of protocol 0 and all that build
 * objects by class are refused. Throws WeightsError naming the global, opcode or byte that is not allowed.
 */
export function readPickle(
  bytes: Uint8Array,
  start: number,
  vocabulary: PickleVocabulary,
  where: string,
): { value: PickleValue; end: number } {
  const machine: Machine = {
    bytes,
    view: viewOf(bytes),
    vocabulary,
    stack: [],
    marks: [],
    memo: new Map(),
    at: start,
    containersLeft: maxContainers,
  };
  try {
    const value = run(machine);
    return { value, end: machine.at };
  } catch (error) {
    if (!(error instanceof WeightsError)) throw error;
    throw new WeightsError(`${where}: ${error.message}, at byte ${machine.at} of the pickle`, { cause: error });
  }
}

/** What an error message calls a value: its type, never its content. */
export function describe(value: PickleValue): string {
  if (value === null) return 'None';
  if (typeof value !== 'object') return typeof value;
  if (value instanceof Uint8Array) return 'bytes';
  return value.kind === 'symbol' ? value.name : value.kind === 'record' ? value.of : value.kind;
}

/** Narrows to a tuple, list, dict, symbol or record. */
export function isKind<K extends 'tuple' | 'list' | 'dict' | 'symbol' | 'record'>(
  value: PickleValue | undefined,
  kind: K,
): value is Extract<PickleValue, { kind: K }> {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === kind;
}

/** A new dict; with `pairs`, from a sequence of two-element sequences. */
export function createDict(pairs: readonly PickleValue[] = []): PickleDict {
  const dict: PickleDict = { kind: 'dict', entries: new Map() };
  for (const pair of pairs) {
    if (!(isKind(pair, 'tuple') || isKind(pair, 'list')) || pair.items.length !== 2) {
      throw new WeightsError(`a dict is made of pairs, got ${describe(pair)}`);
    }
    setItem(dict, pair.items[0], pair.items[1]);
  }
  return dict;
}

function run(machine: Machine): PickleValue {
  for (let count = 0; count < maxOperations; count++) {
    const code = take(machine, 1)[0];
    if (code === stopCode) return stop(machine);
    const operation = operations.get(code);
    if (operation === undefined) fail(refusal(code));
    operation(machine);
  }
  return fail(`more than ${maxOperations} operations`);
}

function stop({ stack, marks }: Machine): PickleValue {
  if (stack.length !== 1 || marks.length !== 0) fail(`the pickle ends with ${stack.length} values, expected one`);
  return stack[0];
}

function refusal(code: number): string {
  const hex = code.toString(16).padStart(2, '0');
  return `the pickle opcode ${refusedNames.get(code) ?? `0x${hex}`} is not allowed in a checkpoint`;
}

const refusedNames: ReadonlyMap<number, string> = new Map(
  (
    [
      ['INT I', 'LONG L', 'FLOAT F', 'STRING S', 'UNICODE V', 'GET g', 'PUT p', 'PERSID P', 'INST i', 'OBJ o'],
      ['NEWOBJ \x81', 'NEWOBJ_EX \x92', 'EXT1 \x82', 'EXT2 \x83', 'EXT4 \x84', 'EMPTY_SET \x8f', 'ADDITEMS \x90'],
      ['FROZENSET \x91', 'BYTEARRAY8 \x96', 'NEXT_BUFFER \x97', 'READONLY_BUFFER \x98'],
    ] as const
  )
    .flat()
    .map((entry) => [entry.charCodeAt(entry.length - 1), entry.slice(0, -2)]),
);

const operations: ReadonlyMap<number, Operation> = new Map<number, Operation>([
  [0x80, protocol],
  [0x95, (m) => void takeLength(m, 8)], // FRAME
  [0x28, (m) => void m.marks.push(m.stack.length)], // MARK
  [0x30, (m) => void pop(m)], // POP
  [0x31, (m) => void popMark(m)], // POP_MARK
  [0x32, (m) => m.stack.push(top(m))], // DUP
  [0x4e, (m) => m.stack.push(null)], // NONE
  [0x88, (m) => m.stack.push(true)], // NEWTRUE
  [0x89, (m) => m.stack.push(false)], // NEWFALSE
  [0x4a, (m) => m.stack.push(viewOf(take(m, 4)).getInt32(0, true))], // BININT
  [0x4b, (m) => m.stack.push(take(m, 1)[0])], // BININT1
  [0x4d, (m) => m.stack.push(viewOf(take(m, 2)).getUint16(0, true))], // BININT2
  [0x8a, (m) => m.stack.push(integer(take(m, takeLength(m, 1))))], // LONG1
  [0x8b, (m) => m.stack.push(integer(take(m, takeLength(m, 4))))], // LONG4
  [0x47, (m) => m.stack.push(viewOf(take(m, 8)).getFloat64(0, false))], // BINFLOAT
  [0x55, (m) => m.stack.push(text(m, 1))], // SHORT_BINSTRING
  [0x54, (m) => m.stack.push(text(m, 4))], // BINSTRING
  [0x8c, (m) => m.stack.push(text(m, 1))], // SHORT_BINUNICODE
  [0x58, (m) => m.stack.push(text(m, 4))], // BINUNICODE
  [0x8d, (m) => m.stack.push(text(m, 8))], // BINUNICODE8
  [0x43, (m) => m.stack.push(take(m, takeLength(m, 1)))], // SHORT_BINBYTES
  [0x42, (m) => m.stack.push(take(m, takeLength(m, 4)))], // BINBYTES
  [0x8e, (m) => m.stack.push(take(m, takeLength(m, 8)))], // BINBYTES8
  [0x29, (m) => pushTuple(m, [])], // EMPTY_TUPLE
  [0x74, (m) => pushTuple(m, popMark(m))], // TUPLE
  [0x85, (m) => pushTuple(m, popMany(m, 1))], // TUPLE1
  [0x86, (m) => pushTuple(m, popMany(m, 2))], // TUPLE2
  [0x87, (m) => pushTuple(m, popMany(m, 3))], // TUPLE3
  [0x5d, (m) => pushContainer(m, { kind: 'list', items: [] })], // EMPTY_LIST
  [0x6c, (m) => pushContainer(m, { kind: 'list', items: popMark(m) })], // LIST
  [0x61, (m) => append(m, popMany(m, 1))], // APPEND
  [0x65, (m) => append(m, popMark(m))], // APPENDS
  [0x7d, (m) => pushContainer(m, createDict())], // EMPTY_DICT
  [0x64, dict],
  [0x73, (m) => setItems(m, popMany(m, 2))], // SETITEM
  [0x75, (m) => setItems(m, popMark(m))], // SETITEMS
  [0x68, (m) => recall(m, take(m, 1)[0])], // BINGET
  [0x6a, (m) => recall(m, viewOf(take(m, 4)).getUint32(0, true))], // LONG_BINGET
  [0x71, (m) => void m.memo.set(take(m, 1)[0], top(m))], // BINPUT
  [0x72, (m) => void m.memo.set(viewOf(take(m, 4)).getUint32(0, true), top(m))], // LONG_BINPUT
  [0x94, (m) => void m.memo.set(m.memo.size, top(m))], // MEMOIZE
  [0x63, (m) => pushSymbol(m, takeLine(m), takeLine(m))], // GLOBAL
  [0x93, stackGlobal],
  [0x51, (m) => pushContainer(m, m.vocabulary.persistent(pop(m)))], // BINPERSID
  [0x52, reduce],
  [0x81, newObject],
  [0x62, build],
]);

function protocol(machine: Machine): void {
  const version = take(machine, 1)[0];
  if (version > highestProtocol) fail(`pickle protocol ${version}, expected at most ${highestProtocol}`);
}

function dict(machine: Machine): void {
  const created = createDict();
  assign(created, popMark(machine));
  pushContainer(machine, created);
}

function stackGlobal(machine: Machine): void {
  const [module, name] = popMany(machine, 2);
  if (typeof module !== 'string' || typeof name !== 'string')
    fail('STACK_GLOBAL without the names of a module and a global');
  pushSymbol(machine, module, name);
}

function pushSymbol({ vocabulary, stack }: Machine, module: string, name: string): void {
  // A space joins them: no key of the vocabulary has more than one, so no other split names it.
  const key = `${module} ${name}`;
  if (!vocabulary.symbols.has(key) && !vocabulary.isClass?.(module)) {
    const refused = shown(`${module}.${name}`);
    fail(
      `the checkpoint names the Python global ${refused}, which is not a tensor or a plain container; it is refused`,
    );
  }
  stack.push({ kind: 'symbol', name: key });
}

function reduce(machine: Machine): void {
  const [callee, args] = popMany(machine, 2);
  if (!isKind(callee, 'symbol') || !isKind(args, 'tuple')) {
    fail(`REDUCE of ${describe(callee)} with ${describe(args)}, expected a global and a tuple`);
  }
  const make = machine.vocabulary.symbols.get(callee.name);
  if (make === undefined || make === 'name') fail(`${callee.name} cannot be applied to arguments`);
  pushContainer(machine, make(args.items));
}

/** NEWOBJ of a class that may stand: an object without attributes yet. Its name is forgotten. */
function newObject(machine: Machine): void {
  const { vocabulary } = machine;
  if (!vocabulary.isClass) fail(refusal(0x81));
  const [type, args] = popMany(machine, 2);
  const [module] = isKind(type, 'symbol') ? type.name.split(' ') : [''];
  if (!vocabulary.isClass(module) || !isKind(args, 'tuple') || args.items.length > 0) {
    fail(`NEWOBJ of ${describe(type)} with ${describe(args)}, expected a class of the archive's own and ()`);
  }
  const created: PickleObject = { kind: 'record', of: 'object', attributes: createDict() };
  pushContainer(machine, created);
}

export function isPickleObject(value: PickleValue | undefined): value is PickleObject {
  return isKind(value, 'record') && value.of === 'object';
}

/** A module's state dict carries its version numbers as attributes, which are dropped; an object takes its own. */
function build(machine: Machine): void {
  const state = pop(machine);
  const target = top(machine);
  if (isPickleObject(target) && isKind(state, 'dict')) {
    for (const [name, value] of state.entries) setItem(target.attributes, name, value);
  } else if (!isKind(target, 'dict') || !(state === null || isKind(state, 'dict'))) {
    fail(`BUILD of ${describe(target)} with ${describe(state)}, expected a dict and its attributes`);
  }
}

function append(machine: Machine, items: readonly PickleValue[]): void {
  const list = top(machine);
  if (!isKind(list, 'list')) fail(`APPEND to ${describe(list)}, expected a list`);
  for (const item of items) list.items.push(item);
}

function setItems(machine: Machine, items: readonly PickleValue[]): void {
  const target = top(machine);
  if (!isKind(target, 'dict')) fail(`SETITEM on ${describe(target)}, expected a dict`);
  assign(target, items);
}

function assign(target: PickleDict, items: readonly PickleValue[]): void {
  if (items.length % 2 !== 0) fail('a dict entry has a key and no value');
  for (let i = 0; i < items.length; i += 2) setItem(target, items[i], items[i + 1]);
}

function setItem(target: PickleDict, key: PickleValue, value: PickleValue): void {
  if (typeof key === 'object' && key !== null) fail(`a dict key is ${describe(key)}, expected a string or a number`);
  if (target.entries.has(key)) fail(`the dict key ${shown(String(key))} occurs twice`);
  target.entries.set(key, value);
}

function recall({ memo, stack }: Machine, index: number): void {
  const value = memo.get(index);
  if (value === undefined) fail(`memo entry ${index} was never set`);
  stack.push(value);
}

function pushTuple(machine: Machine, items: readonly PickleValue[]): void {
  pushContainer(machine, { kind: 'tuple', items });
}

function pushContainer(machine: Machine, value: PickleValue): void {
  if (machine.containersLeft-- <= 0) fail(`more than ${maxContainers} tuples, lists and dicts`);
  machine.stack.push(value);
}

function top({ stack, marks }: Machine): PickleValue {
  if (stack.length <= (marks.at(-1) ?? 0)) fail('the stack is empty');
  return stack[stack.length - 1];
}

function pop(machine: Machine): PickleValue {
  const value = top(machine);
  machine.stack.pop();
  return value;
}

function popMany({ stack, marks }: Machine, count: number): PickleValue[] {
  if (stack.length - (marks.at(-1) ?? 0) < count) fail('the stack is empty');
  return stack.splice(stack.length - count);
}

function popMark({ stack, marks }: Machine): PickleValue[] {
  const mark = marks.pop();
  if (mark === undefined) return fail('there is no MARK');
  return stack.splice(mark);
}

function take(machine: Machine, length: number): Uint8Array {
  if (length > machine.bytes.length - machine.at) fail(`expected ${length} more bytes; the pickle is cut off`);
  machine.at += length;
  return machine.bytes.subarray(machine.at - length, machine.at);
}

/** A length of `bytes` bytes. LONG4's and BINSTRING's are signed: a negative one comes out too large to be there. */
function takeLength(machine: Machine, bytes: 1 | 4 | 8): number {
  const length = take(machine, bytes).reduceRight((value, byte) => value * 256 + byte, 0);
  return isExtent(length) ? length : fail('a length is too large');
}

function takeLine(machine: Machine): string {
  const length = machine.bytes.subarray(machine.at, machine.at + maxGlobalBytes).indexOf(0x0a);
  if (length < 0) fail(`the name of a global has no end within ${maxGlobalBytes} bytes`);
  return decodeUtf8(take(machine, length + 1).subarray(0, length), 'the name of a global');
}

function text(machine: Machine, lengthBytes: 1 | 4 | 8): string {
  return decodeUtf8(take(machine, takeLength(machine, lengthBytes)), 'a string');
}

/** A little-endian two's complement integer of any length. */
function integer(bytes: Uint8Array): number | bigint {
  if (bytes.length > maxIntegerBytes) fail(`an integer of ${bytes.length} bytes`);
  const unsigned = bytes.reduceRight((value, byte) => value * 256n + BigInt(byte), 0n);
  const value = BigInt.asIntN(bytes.length * 8, unsigned);
  const small = Number(value);
  return Number.isSafeInteger(small) ? small : value;
}

function fail(message: string): never {
  throw new WeightsError(message);
}
