/** Reverse-mode differentiation: a graph with a scalar output becomes one that also gives gradients of its parameters. */
import { ShapeError } from '../core/errors.js';
import { floats } from '../core/tensor.js';
import { extendGraph, type Graph, type Node, type Scope, type Value } from '../graph/builder.js';
import { sameShape } from '../graph/dims.js';
import { add, expand, reshape } from '../graph/functions.js';
import type { OpName } from '../graph/ops.js';
import { type GradContext, type GradRule, rules } from './rules.js';

export interface BackwardOptions {
  /** Names of the parameters whose gradients are wanted; default: all. */
  readonly parameters?: readonly string[];
  /** The output that the walk starts from; default 'loss'. */
  readonly output?: string;
  /**
   * What the output's gradient is: 1 for a scalar loss (the default), or an input of this name with the output's shape, for a
   * loss that is worked out outside the graph.
   */
  readonly seed?: string;
}

/** The output name of a parameter's gradient. */
export const gradientName = (parameter: string): string => `grad.${parameter}`;

/**
 * The graph with an output `grad.<parameter>` for every parameter wanted; one that the output does not depend on gets zeros.
 * Throws ShapeError where an op on the way has no gradient.
 */
export function differentiate(graph: Graph, { parameters, output = 'loss', seed }: BackwardOptions = {}): Graph {
  const builder = extendGraph(graph);
  const start = graph.outputs.find(({ name }) => name === output)?.value;
  if (!start) throw new ShapeError(`${graph.name}: no output ${output} to differentiate`);
  if (!seed && start.shape.length !== 0) {
    throw new ShapeError(`${graph.name}: ${output} [${start.shape.join(', ')}] is not a scalar and there is no seed`);
  }
  const wanted = graph.parameters.filter(({ name }) => !parameters || parameters.includes(name));
  const first = seed ? builder.input(seed, start.dtype, start.shape) : builder.root.constant(floats([], [1]));
  const gradients = walkBack(builder.root, graph.nodes, start, first, new Set(wanted.map(({ value }) => value.id)));
  for (const { name, value } of wanted) {
    const zero = () =>
      expand(builder.root, reshape(builder.root, builder.root.constant(floats([], [0])), ones(value)), value.shape);
    builder.output(gradientName(name), gradients.get(value.id) ?? zero());
  }
  return builder.finish();
}

const ones = (value: Value): number[] => value.shape.map(() => 1);

/** Gradients by value id. Only values that lead to `targets` are followed. */
function walkBack(
  root: Scope,
  nodes: readonly Node[],
  start: Value,
  first: Value,
  targets: ReadonlySet<number>,
): ReadonlyMap<number, Value> {
  const active = leadingTo(nodes, targets);
  const gradients = new Map<number, Value>([[start.id, first]]);
  for (const node of nodes.toReversed()) {
    if (!node.outputs.some(({ id }) => gradients.has(id)) || !node.inputs.some(({ id }) => active.has(id))) continue;
    const s = node.scope
      .split('.')
      .filter(Boolean)
      .reduce((scope, name) => scope.at(name), root.at('grad'));
    const slopes = inputGradients(s, node, gradients);
    node.inputs.forEach((input, i) => {
      const slope = slopes[i];
      if (!active.has(input.id) || !slope) return;
      const fitted = fit(s, slope(), input);
      const known = gradients.get(input.id);
      gradients.set(input.id, known ? add(s, known, fitted) : fitted);
    });
  }
  return gradients;
}

/** Values that a target is needed for, the targets among them. */
function leadingTo(nodes: readonly Node[], targets: ReadonlySet<number>): ReadonlySet<number> {
  const active = new Set(targets);
  for (const { inputs, outputs } of nodes) {
    if (!inputs.some(({ id }) => active.has(id))) continue;
    for (const { id, dtype } of outputs) if (dtype.startsWith('float')) active.add(id);
  }
  return active;
}

function inputGradients<K extends OpName>(s: Scope, node: Node<K>, known: ReadonlyMap<number, Value>) {
  const rule: GradRule<K> | 'none' = rules[node.op];
  if (rule === 'none') throw new ShapeError(`${node.op} at ${node.scope || '(root)'} has no gradient`);
  const { inputs, outputs, attributes } = node;
  const gradients = outputs.map(({ id }) => known.get(id));
  const context: GradContext<K> = { s, node, inputs, outputs, attributes, gradients, g: gradients[0] as Value };
  return rule(context);
}

/** Undoes broadcasting: sums over axes that `like` does not have or has as 1, and broadcasts along those it has and `g` has not. */
function fit(s: Scope, g: Value, like: Value): Value {
  if (sameShape(g.shape, like.shape)) return g;
  const extra = g.shape.length - like.shape.length;
  const axes = g.shape.flatMap((extent, axis) => {
    if (axis < extra) return [axis];
    return like.shape[axis - extra] === 1 && extent !== 1 ? [axis] : [];
  });
  const summed = axes.length > 0 ? s.op('ReduceSum', [g], { axes, keepdims: 1 }) : g;
  const shape = summed.shape.slice(Math.max(extra, 0));
  const ranked = extra === 0 ? summed : reshape(s, summed, [...ones(like).slice(shape.length), ...shape]);
  return sameShape(ranked.shape, like.shape) ? ranked : expand(s, ranked, like.shape);
}
