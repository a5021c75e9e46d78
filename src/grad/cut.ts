import type { Graph, NamedValue, Node } from '../graph/builder.js';

/** A graph in two that run one after the other: the first gives what the second takes, as outputs and inputs of one name. */
export interface CutGraph {
  readonly first: Graph;
  readonly second: Graph;
  /** What crosses. */
  readonly crossing: readonly NamedValue[];
}

/**
 * Cuts a differentiated graph behind its forward nodes, the first `count`: the loss can then be worked out between the two
 * parts, and its gradient given to the second, without running forward twice.
 */
export function cutGraph(graph: Graph, count: number): CutGraph {
  const [before, after] = [graph.nodes.slice(0, count), graph.nodes.slice(count)];
  const made = new Set(before.flatMap(({ outputs }) => outputs.map(({ id }) => id)));
  const crossing: NamedValue[] = [];
  const seen = new Set<number>();
  for (const value of after.flatMap(({ inputs }) => inputs)) {
    if (!made.has(value.id) || seen.has(value.id)) continue;
    seen.add(value.id);
    crossing.push({ name: `cut.${value.id}`, value });
  }
  const isFirst = ({ value }: NamedValue) => made.has(value.id);
  return {
    first: part(graph, `${graph.name}.forward`, before, graph.inputs, [...graph.outputs.filter(isFirst), ...crossing]),
    second: part(
      graph,
      `${graph.name}.backward`,
      after,
      [...graph.inputs, ...crossing],
      graph.outputs.filter((output) => !isFirst(output)),
    ),
    crossing,
  };
}

function part(
  graph: Graph,
  name: string,
  nodes: readonly Node[],
  inputs: readonly NamedValue[],
  outputs: readonly NamedValue[],
): Graph {
  const used = new Set(
    [...nodes.flatMap((node) => node.inputs), ...outputs.map(({ value }) => value)].map(({ id }) => id),
  );
  const isUsed = ({ value }: { readonly value: { readonly id: number } }) => used.has(value.id);
  return {
    name,
    nodes,
    outputs,
    states: [],
    inputs: inputs.filter(isUsed),
    parameters: graph.parameters.filter(isUsed),
    constants: graph.constants.filter(isUsed),
  };
}
