import type { DType } from '../core/dtype.js';
import { ShapeError } from '../core/errors.js';
import { sizeOf, type Tensor } from '../core/tensor.js';
import type { Shape } from './dims.js';
import { type OpAttributes, type OpName, type OpSpec, ops, type ValueType } from './ops.js';

/** One tensor in a graph: an input, a parameter, a constant or a node's output. */
export interface Value extends ValueType {
  readonly id: number;
}

export interface Node<K extends OpName = OpName> {
  readonly op: K;
  readonly inputs: readonly Value[];
  readonly attributes: OpAttributes[K];
  readonly outputs: readonly Value[];
  /** Where in the model it was made, as the checkpoint names the place. */
  readonly scope: string;
}

/** How a parameter starts when it is not loaded. */
export type Init =
  | { readonly kind: 'normal'; readonly std: number }
  | { readonly kind: 'constant'; readonly value: number };

export const zerosInit: Init = { kind: 'constant', value: 0 };
export const onesInit: Init = { kind: 'constant', value: 1 };
export const normalInit = (std: number): Init => ({ kind: 'normal', std });

/** A float32 tensor of the checkpoint: its full name there, its shape, how it starts. */
export interface ParameterSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly init: Init;
}

/** Tensors worked out from checkpoint tensors when they are loaded: quantized or packed weights. */
export interface Derivation {
  readonly sources: readonly ParameterSpec[];
  /** The same values in another layout, for the processor's sake: checkpoints never have it. */
  readonly layout?: true;
  compute(sources: readonly Tensor<'float32'>[]): readonly Tensor[];
}

export interface Parameter {
  readonly name: string;
  readonly value: Value;
  /** The checkpoint tensors it needs: itself, or its derivation's sources. */
  readonly sources: readonly ParameterSpec[];
  readonly derived?: { readonly from: Derivation; readonly index: number };
}

export interface NamedValue {
  readonly name: string;
  readonly value: Value;
}

/** A tensor that a run takes in and gives out again, as a cache: bound in place where the runtime can. */
export interface CarriedState {
  readonly input: string;
  readonly output: string;
}

export interface Graph {
  readonly name: string;
  readonly inputs: readonly NamedValue[];
  readonly parameters: readonly Parameter[];
  readonly constants: readonly { readonly value: Value; readonly tensor: Tensor }[];
  readonly nodes: readonly Node[];
  readonly outputs: readonly NamedValue[];
  readonly states: readonly CarriedState[];
}

/** The numbers that linear layers multiply. */
export interface NumberFormat {
  /** Bits per weight; 32 is float32. */
  readonly weightBits: 32 | 8 | 4;
  /** Bits per input; 32 is float32, whatever the weights are. 7 where the processor's sum of two products has 16 bits and saturates. */
  readonly inputBits: 32 | 8 | 7;
}

export const float32Numbers: NumberFormat = { weightBits: 32, inputBits: 32 };

/** How layers are expressed: the same mathematics, other kernels. */
export interface Lowering extends NumberFormat {
  /** 'plain': MatMul and Softmax, has gradients. 'fused': attention kernels, for inference. */
  readonly attention: 'plain' | 'fused';
}

export const plainLowering: Lowering = { ...float32Numbers, attention: 'plain' };
export const fusedLowering: Lowering = { ...float32Numbers, attention: 'fused' };

/** A place in a model: makes nodes there, and names parameters as the checkpoint does. */
export interface Scope {
  readonly path: string;
  readonly lowering: Lowering;
  at(name: string | number): Scope;
  /** The same place with layers expressed otherwise. */
  lowered(changes: Partial<Lowering>): Scope;
  /** The parameter `path.name`; asking again for the same one returns the same value (tied weights). */
  parameter(name: string, shape: readonly number[], init: Init): Value;
  /** A parameter's spec without adding it: for `derive`. */
  spec(name: string, shape: readonly number[], init: Init): ParameterSpec;
  derive(outputs: readonly { readonly name: string; readonly type: ValueType }[], from: Derivation): readonly Value[];
  constant(tensor: Tensor): Value;
  /** A node with one output, or the first of several. */
  op<K extends OpName>(op: K, inputs: readonly Value[], attributes: OpAttributes[K]): Value;
  ops<K extends OpName>(op: K, inputs: readonly Value[], attributes: OpAttributes[K]): readonly Value[];
  /** Names an intermediate, so that it can be asked for. Returns it. */
  tap(name: string, value: Value): Value;
}

export interface GraphBuilder {
  readonly root: Scope;
  input(name: string, dtype: DType, shape: Shape): Value;
  output(name: string, value: Value): void;
  /** A carried tensor: returns what comes in. `carry` says what goes out. */
  state(name: string, dtype: DType, shape: Shape): Value;
  carry(name: string, value: Value): void;
  readonly taps: ReadonlyMap<string, Value>;
  /** The finished graph; the taps asked for become outputs of their own names. Throws ShapeError for an unknown tap. */
  finish(taps?: readonly string[]): Graph;
}

/** The output name of carried state `name`. */
const carriedName = (name: string): string => `${name}.next`;

type Mutable<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer E)[] ? E[] : T[K] };

function inferTypes<K extends OpName>(
  op: K,
  inputs: readonly Value[],
  attributes: OpAttributes[K],
  path: string,
): readonly ValueType[] {
  const { arity, infer }: OpSpec<K> = ops[op];
  const where = `${op} at ${path || '(root)'}`;
  if (inputs.length < arity[0] || inputs.length > arity[1]) {
    throw new ShapeError(`${where}: expected ${arity[0]} to ${arity[1]} inputs, got ${inputs.length}`);
  }
  try {
    return infer(inputs, attributes);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new ShapeError(`${where}: ${cause.message}`, { cause });
  }
}

/** What is shared by all scopes of a graph while it is built. */
interface Building {
  readonly graph: Mutable<Graph>;
  readonly lowering: Lowering;
  readonly taps: Map<string, Value>;
  readonly parameters: Map<string, Parameter>;
  readonly constants: Map<string, Value>;
  newValue(type: ValueType): Value;
}

/** Starts an empty graph. */
export function createGraphBuilder(name: string, lowering: Lowering = plainLowering): GraphBuilder {
  return builderOver({ name, inputs: [], parameters: [], constants: [], nodes: [], outputs: [], states: [] }, lowering);
}

/** Goes on with a finished graph: its values can be used, and outputs added. The graph itself stays as it is. */
export function extendGraph(graph: Graph): GraphBuilder {
  return builderOver(copyOf(graph), plainLowering);
}

/** A graph being written anew: `place` puts a node where it is called, made from other inputs or not. */
export interface GraphRewriter extends GraphBuilder {
  place(node: Node): void;
}

/** Starts from a graph without its nodes, for passes that put them back with others between them; values keep their ids. */
export function rewriteGraph(graph: Graph): GraphRewriter {
  const copy = { ...copyOf(graph), nodes: [] as Node[] };
  return { ...builderOver(copy, plainLowering, freeId(graph)), place: (node) => void copy.nodes.push(node) };
}

function copyOf(graph: Graph): Mutable<Graph> {
  return {
    ...graph,
    inputs: [...graph.inputs],
    parameters: [...graph.parameters],
    constants: [...graph.constants],
    nodes: [...graph.nodes],
    outputs: [...graph.outputs],
    states: [...graph.states],
  };
}

/** The first id that no value of a graph has. */
function freeId(graph: Graph): number {
  let highest = -1;
  for (const { value } of [...graph.inputs, ...graph.parameters, ...graph.constants])
    highest = Math.max(highest, value.id);
  for (const { outputs } of graph.nodes) for (const { id } of outputs) highest = Math.max(highest, id);
  return highest + 1;
}

function builderOver(graph: Mutable<Graph>, lowering: Lowering, firstId = freeId(graph)): GraphBuilder {
  let nextId = firstId;
  const building: Building = {
    graph,
    lowering,
    taps: new Map(),
    parameters: new Map(graph.parameters.map((parameter) => [parameter.name, parameter])),
    constants: new Map(),
    newValue: ({ dtype, shape }) => ({ id: nextId++, dtype, shape }),
  };
  const { taps } = building;
  const input: GraphBuilder['input'] = (inputName, dtype, shape) => {
    const value = building.newValue({ dtype, shape });
    graph.inputs.push({ name: inputName, value });
    return value;
  };
  const output: GraphBuilder['output'] = (outputName, value) => {
    graph.outputs.push({ name: outputName, value });
  };
  return {
    root: createScope(building, ''),
    taps,
    input,
    output,
    state: input,
    carry: (stateName, value) => {
      graph.states.push({ input: stateName, output: carriedName(stateName) });
      output(carriedName(stateName), value);
    },
    finish: (wanted = []) => {
      for (const tap of wanted) {
        const value = taps.get(tap);
        if (!value) throw new ShapeError(`no tap ${tap} in ${graph.name}; there are: ${[...taps.keys()].join(', ')}`);
        output(tap, value);
      }
      return pruned(graph);
    },
  };
}

function createScope(building: Building, path: string): Scope {
  const full = (child: string | number) => (path ? `${path}.${child}` : String(child));
  const makeNode: Scope['ops'] = (op, inputs, attributes) => {
    const outputs = inferTypes(op, inputs, attributes, path).map(building.newValue);
    building.graph.nodes.push({ op, inputs, attributes, outputs, scope: path } as Node);
    return outputs;
  };
  const spec: Scope['spec'] = (child, shape, init) => ({ name: full(child), shape, init });
  return {
    path,
    lowering: building.lowering,
    at: (child) => createScope(building, full(child)),
    lowered: (changes) => createScope({ ...building, lowering: { ...building.lowering, ...changes } }, path),
    parameter: (child, shape, init) => parameterOf(building, spec(child, shape, init)),
    spec,
    derive: (outputs, from) =>
      outputs.map(({ name: child, type }, index) => {
        const name = full(child);
        const known = building.parameters.get(name)?.value;
        return known ?? addParameter(building, name, type, from.sources, { from, index });
      }),
    constant: (tensor) => constantOf(building, tensor),
    op: (op, inputs, attributes) => makeNode(op, inputs, attributes)[0],
    ops: makeNode,
    tap: (child, value) => {
      building.taps.set(full(child), value);
      return value;
    },
  };
}

function addParameter(
  { graph, parameters, newValue }: Building,
  name: string,
  type: ValueType,
  sources: readonly ParameterSpec[],
  derived?: Parameter['derived'],
): Value {
  const parameter: Parameter = { name, value: newValue(type), sources, ...(derived && { derived }) };
  parameters.set(name, parameter);
  graph.parameters.push(parameter);
  return parameter.value;
}

function parameterOf(building: Building, spec: ParameterSpec): Value {
  const known = building.parameters.get(spec.name);
  if (!known) return addParameter(building, spec.name, { dtype: 'float32', shape: spec.shape }, [spec]);
  if (String(known.value.shape) !== String(spec.shape)) {
    throw new ShapeError(`parameter ${spec.name}: expected [${known.value.shape}] as before, got [${spec.shape}]`);
  }
  return known.value;
}

/** Equal scalars are one constant. */
function constantOf({ graph, constants, newValue }: Building, tensor: Tensor): Value {
  const key = sizeOf(tensor.shape) === 1 ? `${tensor.dtype}[${tensor.shape}]${tensor.data[0]}` : undefined;
  const known = key && constants.get(key);
  if (known) return known;
  const value = newValue(tensor);
  graph.constants.push({ value, tensor });
  if (key) constants.set(key, value);
  return value;
}

/** Without the nodes, parameters and constants that no output needs. Inputs stay: they are the interface. */
function pruned(graph: Graph): Graph {
  const needed = new Set(graph.outputs.map((output) => output.value.id));
  const nodes = graph.nodes.toReversed().filter((node) => {
    if (!node.outputs.some((output) => needed.has(output.id))) return false;
    for (const input of node.inputs) needed.add(input.id);
    return true;
  });
  return {
    ...graph,
    nodes: nodes.reverse(),
    parameters: graph.parameters.filter((parameter) => needed.has(parameter.value.id)),
    constants: graph.constants.filter((constant) => needed.has(constant.value.id)),
  };
}
