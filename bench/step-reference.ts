import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** A script of the reference that makes one training step for each line asked of it, and says how many seconds it took. */
export function startStepReference(python: string, script: string, shape: object) {
  const path = fileURLToPath(new URL(`../../bench/${script}`, import.meta.url));
  const child = spawn(python, [path, JSON.stringify(shape)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    step: async () => {
      child.stdin.write('step\n');
      const { value } = await lines.next();
      return Number(value);
    },
    stop: () => child.kill(),
  };
}

export const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1];
