import { InputError } from '../../core/errors.js';
import { asObject, countField, isObject, type JsonObject } from '../../core/json.js';
import type { NodeClipModel } from '../load-clip.js';

/** What vectors depend on: they are only comparable where all of it is equal. */
export interface Identity {
  /** SHA-256 of the weights. */
  readonly weights: string;
  readonly precision: string;
  /** The processor's settings. */
  readonly preprocessing: JsonObject;
  readonly dimension: number;
  readonly metric: 'cosine';
}

/** The identity of a model's vectors. Reads all its weights. */
export async function identityOf(model: NodeClipModel): Promise<Identity> {
  return {
    weights: await model.hashWeights(),
    precision: model.precision,
    // As it looks when it is read again.
    preprocessing: JSON.parse(JSON.stringify(model.processor)) as JsonObject,
    dimension: model.config.embedWidth,
    metric: 'cosine',
  };
}

export function identityFrom(value: unknown, where: string): Identity {
  const json = asObject(value, where);
  const text = (name: string) => {
    if (typeof json[name] === 'string') return json[name] as string;
    throw new InputError(`${where}: ${name}: expected text, got ${JSON.stringify(json[name])}`);
  };
  if (json['metric'] !== 'cosine') {
    throw new InputError(`${where}: metric: expected cosine, got ${JSON.stringify(json['metric'])}`);
  }
  return {
    weights: text('weights'),
    precision: text('precision'),
    preprocessing: asObject(json['preprocessing'], `${where}: preprocessing`),
    dimension: countField(json, 'dimension', where),
    metric: 'cosine',
  };
}

/** Throws InputError that says what differs: vectors of one model mean nothing to another. */
export function expectIdentity(stored: Identity, given: Identity, dir: string): void {
  const differences: string[] = [];
  const compare = (name: string, a: unknown, b: unknown) => {
    if (canonical(a) !== canonical(b)) differences.push(`${name} ${canonical(a)}, the model given has ${canonical(b)}`);
  };
  compare('dimension', stored.dimension, given.dimension);
  compare('weights', stored.weights.slice(0, 16), given.weights.slice(0, 16));
  compare('precision', stored.precision, given.precision);
  const names = new Set([...Object.keys(stored.preprocessing), ...Object.keys(given.preprocessing)]);
  for (const name of names) {
    compare(`preprocessing ${name}`, stored.preprocessing[name] ?? null, given.preprocessing[name] ?? null);
  }
  if (differences.length === 0) return;
  throw new InputError(
    `${dir}: was made by another model: it has ${differences.join('; ')}. Use the model it was made with, or make another index`,
  );
}

/** JSON with keys in order. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) =>
    isObject(each) ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1))) : each,
  );
}
