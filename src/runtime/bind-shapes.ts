import { ShapeError } from '../core/errors.js';
import type { Tensor } from '../core/tensor.js';
import type { Graph, NamedValue } from '../graph/builder.js';
import { type Dim, type Shape, substitute } from '../graph/dims.js';
import type { ConcreteType, Extents } from './runtime.js';

/** The symbolic extents that a graph's feeds and carried tensors fix. Throws ShapeError where they contradict it. */
export function bindExtents(
  graph: Graph,
  feeds: Readonly<Record<string, Tensor>>,
  given: Extents = {},
): ReadonlyMap<string, number> {
  const extents = new Map(Object.entries(given));
  const carried = new Set(graph.states.map((state) => state.input));
  const fed = graph.inputs.filter(({ name }) => !carried.has(name));
  for (const { name, value } of fed) {
    const feed = feeds[name];
    const declared = `${value.dtype}[${value.shape.join(', ')}]`;
    if (!feed) throw new ShapeError(`${graph.name}: input ${name} is missing, expected ${declared}`);
    if (feed.dtype !== value.dtype || feed.shape.length !== value.shape.length) {
      throw new ShapeError(`${graph.name}: input ${name}: expected ${declared}, got ${feed.dtype}[${feed.shape}]`);
    }
    value.shape.forEach((dim, axis) => {
      const [, scale = '1', symbol] = /^(?:(\d+)\*)?([^+*-]+)$/.exec(String(dim)) ?? [];
      if (typeof dim === 'string' && symbol && !extents.has(symbol)) {
        extents.set(symbol, Math.floor(feed.shape[axis] / Number(scale)));
      }
    });
  }
  for (const { name, value } of fed) {
    const expected = concreteShape(value.shape, extents, `${graph.name}: input ${name}`);
    if (String(expected) !== String(feeds[name].shape)) {
      throw new ShapeError(`${graph.name}: input ${name}: expected [${expected}], got [${feeds[name].shape}]`);
    }
  }
  return extents;
}

/** A symbolic shape as numbers; throws ShapeError naming `where` if an extent is still unknown. */
export function concreteShape(shape: Shape, extents: ReadonlyMap<string, number>, where: string): number[] {
  return shape.map((dim) => {
    const extent: Dim = substitute(dim, extents);
    if (typeof extent === 'string') throw new ShapeError(`${where}: extent ${extent} is not known`);
    return extent;
  });
}

/** An input or output's dtype and shape as numbers. */
export function concreteType({ name, value }: NamedValue, extents: ReadonlyMap<string, number>): ConcreteType {
  return { dtype: value.dtype, shape: concreteShape(value.shape, extents, name) };
}
