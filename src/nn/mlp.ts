import type { Init, Scope, Value } from '../graph/builder.js';
import { fixedDimAt } from '../graph/dims.js';
import { type ActivationName, activate, isNonNegative } from './activation.js';
import { linear, spaceFor } from './linear.js';

export interface MlpOptions {
  readonly hidden: number;
  readonly activation: ActivationName;
  /** Names of the two linear layers in the checkpoint. */
  readonly names: readonly [string, string];
  readonly bias?: boolean;
  readonly init?: Init;
}

/** Two linear layers with an activation between: [.., C] to [.., C]. */
export function mlp(s: Scope, x: Value, { hidden, activation, names, ...options }: MlpOptions): Value {
  const width = fixedDimAt(x.shape, -1);
  const space = spaceFor(s, [...x.shape.slice(0, -1), hidden]);
  const inner = activate(s, linear(s.at(names[0]), x, hidden, { ...options, space }), activation);
  const nonNegative = isNonNegative(activation);
  return linear(s.at(names[1]), inner, width, { ...options, nonNegative, inFeatures: hidden });
}
