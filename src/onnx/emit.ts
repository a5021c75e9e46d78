import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { bytesOf, type DType } from '../core/dtype.js';
import type { Tensor } from '../core/tensor.js';
import type { Graph, NamedValue, Node, Value } from '../graph/builder.js';
import type { Shape } from '../graph/dims.js';
import { type OpName, type OpSpec, ops, opset, reshapeTarget } from '../graph/ops.js';
import {
  type AttributeProtoSchema,
  ModelProtoSchema,
  type NodeProtoSchema,
  type TensorProtoSchema,
  type ValueInfoProtoSchema,
} from './onnx_pb.js';

/** The file name that external initializers claim to live in; the runtime gives the bytes, no file is opened. */
const weightsFile = 'weights';

/** AttributeProto.AttributeType */
const attributeTypes = { float: 1, int: 2, string: 3, ints: 7 } as const;
/** TensorProto.DataLocation.EXTERNAL */
const externalLocation = 1;

/** TensorProto.DataType of each dtype. */
export const onnxDataTypes: Readonly<Record<DType, number>> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  uint64: 13,
  bfloat16: 16,
};

type AttributeInit = MessageInitShape<typeof AttributeProtoSchema>;
type NodeInit = MessageInitShape<typeof NodeProtoSchema>;
type TensorInit = MessageInitShape<typeof TensorProtoSchema>;
type ValueInfoInit = MessageInitShape<typeof ValueInfoProtoSchema>;

/**
 * A graph as a serialized ModelProto. Parameters are external: the session is given their data by name, or by the name of the file
 * that `fileOf` says.
 */
export function emitModel(graph: Graph, fileOf: (parameter: string) => string = () => weightsFile): Uint8Array {
  const names = valueNames(graph);
  const nameOf = (value: Value): string => names.get(value.id) ?? `v${value.id}`;
  const attributeTensors: TensorInit[] = [];
  const nodes = graph.nodes.map((node, i) => emitNode(node, i, nameOf, attributeTensors));
  // A value may be an output under several names, or an input or parameter too: ONNX wants a node between.
  const copies = graph.outputs
    .filter(({ name, value }) => nameOf(value) !== name)
    .map(({ name, value }): NodeInit => ({ opType: 'Identity', input: [nameOf(value)], output: [name], name }));
  const model = create(ModelProtoSchema, {
    irVersion: 10n,
    producerName: 'varyclip',
    opsetImport: [
      { domain: '', version: BigInt(opset) },
      { domain: 'com.microsoft', version: 1n },
    ],
    graph: {
      name: graph.name,
      input: graph.inputs.map(valueInfo),
      output: graph.outputs.map(valueInfo),
      initializer: [
        ...graph.parameters.map(({ name, value }): TensorInit => externalTensor(nameOf(value), value, fileOf(name))),
        ...graph.constants.map(({ value, tensor }): TensorInit => inlineTensor(nameOf(value), tensor)),
        ...attributeTensors,
      ],
      node: [...nodes, ...copies],
    },
  });
  return toBinary(ModelProtoSchema, model);
}

/** Inputs, parameters and outputs keep their names; a value that is several of these keeps the first. */
function valueNames(graph: Graph): Map<number, string> {
  const names = new Map<number, string>();
  for (const { name, value } of [...graph.inputs, ...graph.parameters, ...graph.outputs]) {
    if (!names.has(value.id)) names.set(value.id, name);
  }
  return names;
}

function emitNode(node: Node, index: number, nameOf: (value: Value) => string, tensors: TensorInit[]): NodeInit {
  const {
    domain = '',
    places,
    tensorAttributes = [],
  } = ops[node.op] as OpSpec<OpName> & {
    tensorAttributes?: readonly string[];
  };
  const attributes = Object.entries(node.attributes).filter(([, value]) => value !== undefined);
  const present = tensorAttributes.filter((key) => (node.attributes as Record<string, unknown>)[key] !== undefined);
  const asInputs = present.map((key) => {
    const values = integersOf(node, key);
    const tensor = inlineTensor(`n${index}.${key}`, {
      dtype: 'int64',
      shape: [values.length],
      data: BigInt64Array.from(values, BigInt),
    });
    tensors.push(tensor);
    return tensor.name ?? '';
  });
  return {
    opType: node.op,
    domain,
    name: `${node.scope || 'root'}/${node.op}_${index}`,
    input: [...placed(node.inputs.map(nameOf), places), ...asInputs],
    output: node.outputs.map(nameOf),
    attribute: attributes
      .filter(([key]) => !tensorAttributes.includes(key))
      .map(([key, value]) => emitAttribute(onnxName(key), value)),
  };
}

/** Names of inputs where ONNX has them; one that is not given has the empty name. */
function placed(names: readonly string[], places: readonly number[] | undefined): string[] {
  const out: string[] = [];
  for (const [i, name] of names.entries()) {
    const at = places?.[i] ?? i;
    while (out.length < at) out.push('');
    out.push(name);
  }
  return out;
}

function integersOf({ inputs, attributes }: Node, key: string): readonly number[] {
  const values = (attributes as Record<string, Shape>)[key];
  return key === 'shape' ? reshapeTarget(inputs[0].shape, values) : (values as readonly number[]);
}

/** ONNX writes attributes in snake case, except these. */
const spelledAsIs = new Set(['transA', 'transB', 'K', 'N']);
const onnxName = (key: string): string =>
  spelledAsIs.has(key) ? key : key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** Attributes that ONNX declares as float; every other number is an int. */
const floatAttributes = new Set(['alpha', 'beta', 'epsilon', 'scale']);

function emitAttribute(name: string, value: unknown): AttributeInit {
  if (name === 'to') {
    return { name, type: attributeTypes.int, i: BigInt(onnxDataTypes[value as DType]) };
  }
  if (typeof value === 'string') {
    return { name, type: attributeTypes.string, s: new TextEncoder().encode(value) };
  }
  if (typeof value === 'number') {
    return floatAttributes.has(name)
      ? { name, type: attributeTypes.float, f: value }
      : { name, type: attributeTypes.int, i: BigInt(value) };
  }
  return { name, type: attributeTypes.ints, ints: (value as readonly number[]).map(BigInt) };
}

function inlineTensor(name: string, { dtype, shape, data }: Tensor): TensorInit {
  return { name, dataType: onnxDataTypes[dtype], dims: shape.map(BigInt), rawData: bytesOf(data) };
}

function externalTensor(name: string, { dtype, shape }: Value, file: string): TensorInit {
  return {
    name,
    dataType: onnxDataTypes[dtype],
    dims: shape.map(BigInt),
    dataLocation: externalLocation,
    externalData: [{ key: 'location', value: file }],
  };
}

function valueInfo({ name, value }: NamedValue): ValueInfoInit {
  return {
    name,
    type: {
      value: {
        case: 'tensorType',
        value: { elemType: onnxDataTypes[value.dtype], shape: { dim: value.shape.map(dimension) } },
      },
    },
  };
}

function dimension(extent: Shape[number]) {
  return typeof extent === 'number'
    ? { value: { case: 'dimValue' as const, value: BigInt(extent) } }
    : { value: { case: 'dimParam' as const, value: extent } };
}
