import { InputError } from '../core/errors.js';
import type { Scope, Value } from '../graph/builder.js';
import { add, div, mul, scalar, scale, sub } from '../graph/functions.js';

type Activation = (s: Scope, x: Value) => Value;

const relu: Activation = (s, x) => s.op('Relu', [x], {});
const sigmoid: Activation = (s, x) => s.op('Sigmoid', [x], {});
const tanh: Activation = (s, x) => s.op('Tanh', [x], {});
const silu: Activation = (s, x) => mul(s, x, sigmoid(s, x));
const geluTanh: Activation = (s, x) => s.op('Gelu', [x], { approximate: 'tanh' });
/** log(1 + x), with what rounding takes from 1 + x. */
const log1p: Activation = (s, x) => {
  const whole = add(s, x, scalar(s, 1));
  const lost = sub(s, x, sub(s, whole, scalar(s, 1)));
  return add(s, s.op('Log', [whole], {}), div(s, lost, whole));
};
const softplus: Activation = (s, x) => {
  // log(1 + e^x) = max(x, 0) + log(1 + e^-|x|), which does not overflow.
  const decay = s.op('Exp', [s.op('Neg', [s.op('Abs', [x], {})], {})], {});
  return add(s, relu(s, x), log1p(s, decay));
};
const gelu: Activation = (s, x) => s.op('Gelu', [x], {});
const gelu10: Activation = (s, x) => s.op('Min', [s.op('Max', [gelu(s, x), scalar(s, -10)], {}), scalar(s, 10)], {});
const hardswish: Activation = (s, x) => scale(s, mul(s, x, relu6(s, add(s, x, scalar(s, 3)))), 1 / 6);
/** The normal distribution of mean √½ and variance 1/(4π), which is near the squared ReLU (Ma et al. 2022). */
const laplace: Activation = (s, x) => {
  // With the digits that transformers has of them.
  const [mean, deviation] = [707_107e-6, 282_095e-6];
  const distance = scale(s, sub(s, x, scalar(s, mean)), Math.SQRT1_2 / deviation);
  return scale(s, add(s, s.op('Erf', [distance], {}), scalar(s, 1)), 0.5);
};
const leakyRelu: Activation = (s, x) => s.op('Max', [x, scale(s, x, 0.01)], {});
const linear: Activation = (_, x) => x;
const mish: Activation = (s, x) => mul(s, x, tanh(s, softplus(s, x)));
const quickGelu: Activation = (s, x) => mul(s, x, sigmoid(s, scale(s, x, 1.702)));
const relu2: Activation = (s, x) => mul(s, relu(s, x), relu(s, x));
const relu6: Activation = (s, x) => s.op('Min', [relu(s, x), scalar(s, 6)], {});

const names = [
  'gelu',
  'gelu_10',
  'gelu_accurate',
  'gelu_fast',
  'gelu_new',
  'gelu_python',
  'gelu_python_tanh',
  'gelu_pytorch_tanh',
  'hardswish',
  'laplace',
  'leaky_relu',
  'linear',
  'mish',
  'quick_gelu',
  'relu',
  'relu2',
  'relu6',
  'sigmoid',
  'silu',
  'sqrtsoftplus',
  'swish',
  'tanh',
] as const;

export type ActivationName = (typeof names)[number];

/** The element-wise functions of transformers' ACT2FN, by its names; not those that have parameters. */
const activations: Readonly<Record<ActivationName, Activation>> = {
  gelu,
  gelu_10: gelu10,
  gelu_accurate: geluTanh,
  gelu_fast: geluTanh,
  gelu_new: geluTanh,
  gelu_python: gelu,
  gelu_python_tanh: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  hardswish,
  laplace,
  leaky_relu: leakyRelu,
  linear,
  mish,
  quick_gelu: quickGelu,
  relu,
  relu2,
  relu6,
  sigmoid,
  silu,
  sqrtsoftplus: (s, x) => s.op('Sqrt', [softplus(s, x)], {}),
  swish: silu,
  tanh,
};

/** The activation a checkpoint's config names. Throws InputError with the names there are. */
export function activationName(name: unknown, where: string): ActivationName {
  if (typeof name === 'string' && Object.hasOwn(activations, name)) return name as ActivationName;
  throw new InputError(`${where}: expected one of ${Object.keys(activations).join(', ')}, got ${JSON.stringify(name)}`);
}

/** Applies the named activation, element by element. */
export function activate(s: Scope, x: Value, name: ActivationName): Value {
  return activations[name](s, x);
}

const neverNegative: ReadonlySet<ActivationName> = new Set([
  'laplace',
  'relu',
  'relu2',
  'relu6',
  'sigmoid',
  'sqrtsoftplus',
]);

/** Whether none of its results is below zero. */
export const isNonNegative = (name: ActivationName): boolean => neverNegative.has(name);
