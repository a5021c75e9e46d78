import type { DType } from '../core/dtype.js';
import { WeightsError } from '../core/errors.js';
import { type Checkpoint, isFloat } from './checkpoint.js';

/** Most names of a kind that a message lists. */
const maxListed = 10;

/** A tensor that a model needs. */
export interface RequiredTensor {
  readonly shape: readonly number[];
  /** 'float': any floating-point type, since it is widened. */
  readonly dtype: DType | 'float';
}

interface Named {
  readonly checkpoint: Checkpoint;
  /** Our name -> the checkpoint's, for every tensor it has. */
  readonly names: ReadonlyMap<string, string>;
}

/**
 * Checks that a checkpoint has exactly the tensors a model needs. Throws one WeightsError that lists what is missing,
 * unexpected and misshapen.
 */
export function checkManifest(required: ReadonlyMap<string, RequiredTensor>, { checkpoint, names }: Named): void {
  const missing = [...required.keys()].filter((name) => !names.has(name));
  const unexpected = [...names.keys()].filter((name) => !required.has(name));
  const misshapen = [...required].flatMap(([name, { shape, dtype }]) => {
    const stored = names.get(name);
    if (stored === undefined) return [];
    const found = checkpoint.info(stored);
    if (String(found.shape) === String(shape) && (dtype === 'float' ? isFloat(found.dtype) : found.dtype === dtype))
      return [];
    const expected = dtype === 'float' ? `[${shape}]` : `${dtype} [${shape}]`;
    return [`${stored}: expected ${expected}, got ${found.dtype} [${found.shape}]`];
  });
  const parts = [listed('missing', missing), listed('unexpected', unexpected), listed('misshapen', misshapen)];
  const problems = parts.filter((part) => part !== '');
  if (problems.length === 0) return;
  throw new WeightsError(
    `${checkpoint.name}: the tensors are not those of the model its config.json describes:\n${problems.join('\n')}`,
  );
}

function listed(kind: string, names: readonly string[]): string {
  if (names.length === 0) return '';
  const more = names.length > maxListed ? `\n    and ${names.length - maxListed} more` : '';
  return `  ${kind} (${names.length}):\n    ${names.slice(0, maxListed).join('\n    ')}${more}`;
}
