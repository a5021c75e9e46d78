import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { MpiPeers } from '../node/mpi.js';
import { type ContrastiveRun, type RunningContrastive, startContrastiveRun } from '../node/training/contrastive-run.js';
import { exitInterrupted, type Io } from './command.js';

export interface ContrastivePlan {
  /** One step, nothing saved. */
  readonly dry: boolean;
  /** The checkpoint to go on from. */
  readonly newest: string | undefined;
  readonly threads: number | undefined;
  readonly peers: MpiPeers | undefined;
}

/** Runs or goes on with a contrastive run; rank 0 reports, evaluates and saves. */
export async function trainContrastive(
  run: ContrastiveRun,
  { dry, newest, threads, peers }: ContrastivePlan,
  io: Io,
): Promise<number> {
  const leads = (peers?.rank ?? 0) === 0;
  const work = await startContrastiveRun(run, {
    resume: dry ? undefined : newest,
    peers,
    ...(threads !== undefined && { threads }),
  });
  if (newest && !dry && leads) io.err(`varyclip: goes on from ${newest}\n`);
  if (!dry) mkdirSync(run.out, { recursive: true });
  try {
    return await loop(run, work, { dry, leads, peers }, io);
  } finally {
    await work.dispose();
  }
}

async function loop(
  run: ContrastiveRun,
  work: RunningContrastive,
  { dry, leads, peers }: { dry: boolean; leads: boolean; peers: MpiPeers | undefined },
  io: Io,
): Promise<number> {
  const log = (entry: object) => appendFileSync(join(run.out, 'metrics.jsonl'), `${JSON.stringify(entry)}\n`);
  const started = performance.now();
  const first = work.stepsDone;
  const last = dry ? first + 1 : run.steps;
  let [smooth, shownAt] = [Number.NaN, 0];
  while (work.stepsDone < last) {
    const interrupted = Float32Array.of(io.signal.aborted ? 1 : 0);
    await peers?.sum(interrupted);
    if (interrupted[0] > 0) {
      if (!dry && leads) io.err(`\nvaryclip: interrupted; saved ${await work.save()}\n`);
      return exitInterrupted;
    }
    const result = await work.step();
    if (!leads) continue;
    smooth = Number.isNaN(smooth) ? result.loss : 0.95 * smooth + 0.05 * result.loss;
    const now = performance.now();
    const seconds = (now - started) / 1000;
    if (!dry && result.step % run.logEvery === 0) {
      log({ ...result, smooth, factor: Math.exp(work.logitScale), seconds, waited: work.waited / 1000 });
    }
    if (dry || now - shownAt > (io.isTerminal ? 500 : 30_000)) {
      shownAt = now;
      const perSecond = (result.step - first) / seconds;
      const left = Math.round((last - result.step) / perSecond / 60);
      const line = `step ${result.step}/${run.steps}  loss ${smooth.toFixed(4)}  rate ${result.learningRate.toExponential(2)}  ${(perSecond * run.batchSize).toFixed(0)} rows/s  ${left} min left`;
      io.err(io.isTerminal ? `\r\u001b[K${line}` : `${line}\n`);
    }
    if (!dry && (result.step % run.evaluateEvery === 0 || result.step === last)) await report(work, log, io);
    if (!dry && (result.step % run.saveEvery === 0 || result.step === last)) await work.save();
  }
  if (io.isTerminal) io.err('\n');
  return 0;
}

async function report(work: RunningContrastive, log: (entry: object) => void, io: Io): Promise<void> {
  const figures = await work.evaluate();
  log({ step: work.stepsDone, figures });
  const percent = (part: number) => `${(100 * part).toFixed(1)} %`;
  for (const [name, { top1, top5, recall10, textRecall10 }] of Object.entries(figures)) {
    io.err(
      `${io.isTerminal ? '\n' : ''}step ${work.stepsDone}: ${name}: top-1 ${percent(top1)}, top-5 ${percent(top5)}, recall@10 ${percent(recall10)}, of texts ${percent(textRecall10)}\n`,
    );
  }
}
