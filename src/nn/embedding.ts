import { normalInit, type Scope, type Value } from '../graph/builder.js';
import { gather } from '../graph/functions.js';

/** Rows of the table `weight` [rows, width] picked by ids [..] : [.., width]. */
export function embedding(s: Scope, ids: Value, rows: number, width: number, std = 0.02): Value {
  return gather(s, s.parameter('weight', [rows, width], normalInit(std)), ids);
}
