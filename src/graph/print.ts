import type { Graph, Value } from './builder.js';

const typeOf = ({ dtype, shape }: Value) => `${dtype}[${shape.join(', ')}]`;

/** A graph as text, one line a node: checked in for each tiny model, so that a refactoring shows its effect. */
export function printGraph(graph: Graph): string {
  const names = new Map<number, string>();
  for (const { name, value } of graph.inputs) names.set(value.id, name);
  for (const { name, value } of graph.parameters) names.set(value.id, name);
  graph.constants.forEach(({ value, tensor }, i) => {
    names.set(value.id, tensor.data.length === 1 ? String(tensor.data[0]) : `const${i}`);
  });
  let next = 0;
  const nameOf = (value: Value) => {
    const known = names.get(value.id) ?? `%${next++}`;
    names.set(value.id, known);
    return known;
  };
  const lines = graph.nodes.map(({ op, inputs, attributes, outputs, scope }) => {
    const taken = inputs.map(nameOf).join(', ');
    const shown = Object.entries(attributes).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
    return `  ${outputs.map(nameOf).join(', ')} = ${op}(${[taken, ...shown].join(', ')}) : ${outputs.map(typeOf).join(', ')}${scope ? `  # ${scope}` : ''}`;
  });
  return [
    `graph ${graph.name}`,
    ...graph.inputs.map(({ name, value }) => `  input ${name} : ${typeOf(value)}`),
    ...graph.parameters.map(({ name, value }) => `  parameter ${name} : ${typeOf(value)}`),
    ...graph.constants
      .filter(({ tensor }) => tensor.data.length !== 1)
      .map(({ value }) => `  constant ${nameOf(value)} : ${typeOf(value)}`),
    ...lines,
    ...graph.outputs.map(({ name, value }) => `  output ${name} = ${nameOf(value)} : ${typeOf(value)}`),
    '',
  ].join('\n');
}
