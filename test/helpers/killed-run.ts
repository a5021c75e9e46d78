/** A program: trains in DIR, saving after every step, until it is done or killed. `node killed-run.js DIR STEPS` */
import { newestRun, removeLeftovers } from '../../src/node/training/save.js';
import { startRun } from '../../src/node/training/start-run.js';
import { killedRun } from './training.js';

const [dir, steps] = process.argv.slice(2);
const run = killedRun(dir, Number(steps));
const { path, damaged } = newestRun(run.out);
removeLeftovers(run.out);
const work = await startRun(run, { resume: path, threads: 1 });
process.stdout.write(`${JSON.stringify({ step: work.stepsDone, damaged })}\n`);
while (work.stepsDone < work.steps) {
  await work.step();
  await work.save();
  process.stdout.write(`${JSON.stringify({ saved: work.stepsDone })}\n`);
}
await work.dispose();
