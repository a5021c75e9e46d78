import type { Scope, Value } from '../graph/builder.js';
import { div, mul } from '../graph/functions.js';

/** x / ‖x‖₂ over the last axis. Shape of x. */
export function l2Normalize(s: Scope, x: Value): Value {
  const squares = s.op('ReduceSum', [mul(s, x, x)], { axes: [x.shape.length - 1], keepdims: 1 });
  return div(s, x, s.op('Sqrt', [squares], {}));
}
