import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface StepBench {
  readonly name: string;
  readonly python: string;
  readonly script: string;
  readonly shape: object;
  readonly rounds: number;
  readonly threads: number;
}

/** Our steps and the reference's in turns, the first of each left out; prints the medians and their ratio. */
export async function compareSteps(
  { name, python, script, shape, rounds, threads }: StepBench,
  step: () => Promise<unknown>,
): Promise<void> {
  const reference = startStepReference(python, script, shape);
  const [ours, theirs]: [number[], number[]] = [[], []];
  for (let round = -1; round < rounds; round++) {
    const took = await reference.step();
    const started = performance.now();
    await step();
    const own = (performance.now() - started) / 1000;
    if (round < 0) continue;
    ours.push(own);
    theirs.push(took);
  }
  reference.stop();
  const [a, b] = [median(ours), median(theirs)];
  console.log(
    `${name}: ${(1000 * a).toFixed(0)} ms, PyTorch ${(1000 * b).toFixed(0)} ms, ${(b / a).toFixed(2)}× as fast (median of ${rounds}, ${threads} threads)`,
  );
}

/** A script of the reference that makes one training step for each line asked of it, and says how many seconds it took. */
function startStepReference(python: string, script: string, shape: object) {
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

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1];
