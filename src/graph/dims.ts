/**
 * Symbolic extents. A `Dim` is a number, or a polynomial over named symbols in canonical text ("2*batch*sequence+1"), so that
 * two extents are equal exactly when their texts are.
 */
export type Dim = number | string;
export type Shape = readonly Dim[];

/** monomial (sorted symbols joined by '*', '' for the constant) -> integer coefficient */
type Polynomial = Map<string, number>;

function parse(dim: Dim): Polynomial {
  if (typeof dim === 'number') return new Map(dim === 0 ? [] : [['', dim]]);
  const terms: Polynomial = new Map();
  for (const [, sign, term] of dim.matchAll(/([+-]?)([^+-]+)/g)) {
    const factors = term.split('*');
    const scale = /^\d+$/.test(factors[0]) ? Number(factors.shift()) : 1;
    const monomial = factors.sort().join('*');
    terms.set(monomial, (terms.get(monomial) ?? 0) + (sign === '-' ? -scale : scale));
  }
  return terms;
}

function format(terms: Polynomial): Dim {
  const kept = [...terms].filter(([, scale]) => scale !== 0).sort(([a], [b]) => compareMonomials(a, b));
  if (kept.length === 0) return 0;
  if (kept.length === 1 && kept[0][0] === '') return kept[0][1];
  const texts = kept.map(([monomial, scale]) => {
    const size = Math.abs(scale);
    const body = monomial === '' ? `${size}` : size === 1 ? monomial : `${size}*${monomial}`;
    return (scale < 0 ? '-' : '+') + body;
  });
  return texts.join('').replace(/^\+/, '');
}

/** The constant last, otherwise by name. */
function compareMonomials(a: string, b: string): number {
  if (a === '' || b === '') return a === b ? 0 : a === '' ? 1 : -1;
  return a < b ? -1 : a > b ? 1 : 0;
}

export function addDims(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number') return a + b;
  const sum = parse(a);
  for (const [monomial, scale] of parse(b)) sum.set(monomial, (sum.get(monomial) ?? 0) + scale);
  return format(sum);
}

export function multiplyDims(a: Dim, b: Dim): Dim {
  if (typeof a === 'number' && typeof b === 'number') return a * b;
  const product: Polynomial = new Map();
  for (const [ma, sa] of parse(a)) {
    for (const [mb, sb] of parse(b)) {
      const monomial = [...ma.split('*'), ...mb.split('*')].filter(Boolean).sort().join('*');
      product.set(monomial, (product.get(monomial) ?? 0) + sa * sb);
    }
  }
  return format(product);
}

/** a / b where b is one term that divides every term of a; undefined otherwise. */
export function divideDims(a: Dim, b: Dim): Dim | undefined {
  if (a === b) return 1;
  const divisor = [...parse(b)];
  if (divisor.length !== 1) return undefined;
  const [[monomial, scale]] = divisor;
  const quotient: Polynomial = new Map();
  for (const [term, size] of parse(a)) {
    const left = term.split('*').filter(Boolean);
    for (const symbol of monomial.split('*').filter(Boolean)) {
      const at = left.indexOf(symbol);
      if (at < 0) return undefined;
      left.splice(at, 1);
    }
    if (size % scale !== 0) return undefined;
    quotient.set(left.join('*'), size / scale);
  }
  return format(quotient);
}

/** ⌊a / b⌋ for b > 0, where b divides every term of a but the constant one; undefined otherwise. */
export function floorDivideDims(a: Dim, b: number): Dim | undefined {
  const terms = parse(a);
  const rest = terms.get('') ?? 0;
  terms.delete('');
  const whole = divideDims(format(terms), b);
  return whole === undefined ? undefined : addDims(whole, Math.floor(rest / b));
}

/** Number of elements, possibly symbolic. */
export function elementCount(shape: Shape): Dim {
  return shape.reduce<Dim>(multiplyDims, 1);
}

/** The extents of `dim`'s symbols put in, as far as `values` has them. */
export function substitute(dim: Dim, values: ReadonlyMap<string, number>): Dim {
  if (typeof dim === 'number') return dim;
  const known = values.get(dim);
  if (known !== undefined) return known;
  let total: Dim = 0;
  for (const [monomial, scale] of parse(dim)) {
    const factors = monomial.split('*').filter(Boolean);
    total = addDims(total, factors.map((symbol): Dim => values.get(symbol) ?? symbol).reduce(multiplyDims, scale));
  }
  return total;
}

/** The extent at `axis` (negative counts from the end); throws where there is none. */
export function dimAt(shape: Shape, axis: number): Dim {
  const extent = shape[axis < 0 ? shape.length + axis : axis];
  if (extent === undefined) throw new RangeError(`no axis ${axis} in [${shape}]`);
  return extent;
}

/** The same, where a number is needed. */
export function fixedDimAt(shape: Shape, axis: number): number {
  const extent = dimAt(shape, axis);
  if (typeof extent !== 'number') throw new RangeError(`axis ${axis} of [${shape}] must be a known number`);
  return extent;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((extent, i) => extent === b[i]);
}

/** numpy broadcasting; undefined where the shapes do not fit. */
export function broadcastShapes(a: Shape, b: Shape): Shape | undefined {
  const rank = Math.max(a.length, b.length);
  const out: Dim[] = [];
  for (let i = 0; i < rank; i++) {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) return undefined;
    out.push(x === 1 ? y : x);
  }
  return out;
}
