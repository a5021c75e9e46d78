/** Activation checkpointing (arXiv 1604.06174) as a graph pass: what a block made is made again when its gradients are due. */
import { floats } from '../core/tensor.js';
import { type Graph, type GraphRewriter, type Node, rewriteGraph, type Scope, type Value } from '../graph/builder.js';
import { add, mul, reshape } from '../graph/functions.js';

/** Optimizers that would find the recomputation to be what was computed before, and undo it. */
export const undoingOptimizers: readonly string[] = ['CommonSubexpressionElimination'];

/** A block: a layer of the decoder, or of the tower. */
const blockPattern = /^(?:model\.decoder\.layers|model\.vision_tower_2\.blocks)\.\d+(?=\.|$)/;

const blockOf = (scope: string): string | undefined => blockPattern.exec(scope)?.[0];

/**
 * A differentiated graph, whose first `forwardCount` nodes are forward, that keeps only what enters and leaves each block. The
 * recomputation takes the block's input plus zero times its incoming gradient: it cannot start before, and is no common
 * subexpression of the first computation.
 */
export function recomputeBlocks(graph: Graph, forwardCount: number): Graph {
  const [forward, backward] = [graph.nodes.slice(0, forwardCount), graph.nodes.slice(forwardCount)];
  const makers = new Map(forward.flatMap((node) => node.outputs.map(({ id }) => [id, node] as const)));
  const stored = keptValues(graph, forward, makers);
  const learned = learnedValues(graph, forward);
  const builder = rewriteGraph(graph);
  for (const node of forward) builder.place(node);
  const again = new Map<string, ReadonlyMap<number, Value>>();
  const madeBackward = new Set<number>();
  for (const node of backward) {
    const block = blockOf(node.scope.replace(/^grad\./, ''));
    const incoming = node.inputs.find(({ id }) => madeBackward.has(id));
    if (block !== undefined && incoming && !again.has(block)) {
      const nodes = forward.filter(({ scope }) => blockOf(scope) === block);
      again.set(block, replay(builder, nodes, incoming, { learned, makers, block }));
    }
    const values = block === undefined ? undefined : again.get(block);
    builder.place({
      ...node,
      inputs: node.inputs.map((value) => (stored.has(value.id) ? value : (values?.get(value.id) ?? value))),
    });
    for (const { id } of node.outputs) madeBackward.add(id);
  }
  return builder.finish();
}

/** What a block gives to others: it is kept. */
function keptValues(graph: Graph, forward: readonly Node[], makers: ReadonlyMap<number, Node>): ReadonlySet<number> {
  const kept = new Set(graph.outputs.map(({ value }) => value.id));
  for (const { inputs, scope } of forward) {
    for (const { id } of inputs) {
      const maker = makers.get(id);
      if (maker && blockOf(maker.scope) !== blockOf(scope)) kept.add(id);
    }
  }
  return kept;
}

/** Values that depend on a parameter: gradients flow through them. */
function learnedValues(graph: Graph, forward: readonly Node[]): ReadonlySet<number> {
  const learned = new Set(graph.parameters.map(({ value }) => value.id));
  for (const { inputs, outputs } of forward) {
    if (inputs.some(({ id }) => learned.has(id))) for (const { id } of outputs) learned.add(id);
  }
  return learned;
}

/** A block's nodes once more, behind `incoming`: their values by the ids of the first ones. Unused ones are pruned later. */
function replay(
  builder: GraphRewriter,
  nodes: readonly Node[],
  incoming: Value,
  {
    learned,
    makers,
    block,
  }: {
    readonly learned: ReadonlySet<number>;
    readonly makers: ReadonlyMap<number, Node>;
    readonly block: string;
  },
): ReadonlyMap<number, Value> {
  const root = builder.root.at('recompute');
  const values = new Map<number, Value>();
  const late = (value: Value): Value => {
    const known = values.get(value.id);
    if (known) return known;
    const maker = makers.get(value.id);
    const enters = maker !== undefined && blockOf(maker.scope) !== block && learned.has(value.id);
    if (!enters || value.dtype !== 'float32') return value;
    const waiting = add(root, value, zeroAfter(root, incoming, value));
    values.set(value.id, waiting);
    return waiting;
  };
  for (const node of nodes) {
    const s = node.scope.split('.').reduce((scope, name) => scope.at(name), root);
    const outputs = s.ops(node.op, node.inputs.map(late), node.attributes);
    node.outputs.forEach(({ id }, i) => void values.set(id, outputs[i]));
  }
  return values;
}

/** Zero, of shape [1, …] as `like` has axes, that is there only when `value` is. */
function zeroAfter(s: Scope, value: Value, like: Value): Value {
  const axes = value.shape.map((_, axis) => axis);
  const corner =
    axes.length === 0 ? value : s.op('Slice', [value], { starts: axes.map(() => 0), ends: axes.map(() => 1), axes });
  const ones = like.shape.map(() => 1);
  return mul(s, reshape(s, corner, ones), s.constant(floats([], [0])));
}
