import { appendFileSync, mkdirSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { InputError, messageOf } from '../core/errors.js';
import { asObject } from '../core/json.js';
import { readJson } from '../node/files.js';
import { joinMpi, type MpiPeers } from '../node/mpi.js';
import { parseContrastiveRun } from '../node/training/contrastive-run.js';
import { type LineRun, parseLineRun, type RunningLines, startLineRun } from '../node/training/line-run.js';
import { newestRun } from '../node/training/save.js';
import type { Arguments } from './arguments.js';
import { type Command, exitInterrupted, type Io } from './command.js';
import { trainContrastive } from './train-contrastive.js';

export const trainCommand: Command = {
  summary: 'train a model as a run file says; goes on where it stopped',
  usage: 'varyclip train RUN.json [--dry-run] [--threads N]',
  options: {
    'dry-run': { type: 'boolean', help: 'check the run file, make one batch and one step, save nothing' },
    threads: { type: 'string', short: 't', value: 'N', help: 'threads (all cores)' },
  },
  run: train,
};

async function train(args: Arguments, io: Io): Promise<number> {
  const [path] = args.positionals;
  if (path === undefined) throw new InputError('train: name a run file: varyclip train runs/vary-nano/tower.json');
  const base = dirname(resolve(path));
  const json = readJson(base, basename(path));
  if (json === undefined) throw new InputError(`${path}: there is no such run file`);
  const fields = asObject(json, path);
  const where = { where: path, base };
  const run = fields['task'] === 'contrastive' ? parseContrastiveRun(fields, where) : parseLineRun(fields, where);
  const threads = args.count('threads');
  const dry = args.flag('dry-run');
  const { path: newest, damaged } = newestRun(run.out);
  for (const text of damaged) io.err(`varyclip: passed over ${text}\n`);
  const peers = joinMpi();
  const group: Group = { ...(peers && { peers }), leads: (peers?.rank ?? 0) === 0 };
  try {
    const code =
      run.task === 'contrastive'
        ? await trainContrastive(run, { dry, newest, threads, peers }, io)
        : await trainTogether(run, { dry, newest, threads, group }, io);
    peers?.finish();
    return code;
  } catch (error) {
    // The others wait for this process's gradients: they must not wait for ever.
    if (peers) {
      io.err(
        `varyclip: rank ${peers.rank} of ${peers.size}: ${messageOf(error)}; the run ends, the last checkpoint is good\n`,
      );
      peers.abort(1);
    }
    throw error;
  }
}

/** Processes that train together; one of them reports, evaluates and saves. */
interface Group {
  readonly peers?: MpiPeers;
  readonly leads: boolean;
}

interface Plan {
  readonly dry: boolean;
  readonly newest: string | undefined;
  readonly threads: number | undefined;
  readonly group: Group;
}

async function trainTogether(run: LineRun, { dry, newest, threads, group }: Plan, io: Io): Promise<number> {
  const work = await startLineRun(run, {
    resume: dry ? undefined : newest,
    peers: group.peers,
    ...(threads !== undefined && { threads }),
  });
  if (newest && !dry && group.leads) io.err(`varyclip: goes on from ${newest}\n`);
  if (!dry) mkdirSync(run.out, { recursive: true });
  try {
    return await loop(run, work, { dry, group }, io);
  } finally {
    await work.dispose();
  }
}

/** Whether any of the processes was interrupted: all stop at the same step. */
async function isInterrupted({ peers }: Group, io: Io): Promise<boolean> {
  const flag = Float32Array.of(io.signal.aborted ? 1 : 0);
  await peers?.sum(flag);
  return flag[0] > 0;
}

async function loop(
  run: LineRun,
  work: RunningLines,
  { dry, group }: Pick<Plan, 'dry' | 'group'>,
  io: Io,
): Promise<number> {
  const log = (entry: object) => appendFileSync(join(run.out, 'metrics.jsonl'), `${JSON.stringify(entry)}\n`);
  const started = performance.now();
  const first = work.stepsDone;
  let [smooth, shownAt] = [Number.NaN, 0];
  const last = dry ? first + 1 : run.steps;
  while (work.stepsDone < last) {
    if (await isInterrupted(group, io)) {
      if (!dry && group.leads) io.err(`\nvaryclip: interrupted; saved ${await work.save()}\n`);
      return exitInterrupted;
    }
    const result = await work.step();
    if (!group.leads) continue;
    smooth = Number.isNaN(smooth) ? result.loss : 0.98 * smooth + 0.02 * result.loss;
    const now = performance.now();
    const perSecond = (result.step - first) / ((now - started) / 1000);
    if (!dry && result.step % run.logEvery === 0)
      log({ ...result, smooth, seconds: (now - started) / 1000, waited: work.waited / 1000 });
    if (dry || now - shownAt > (io.isTerminal ? 500 : 30_000)) {
      shownAt = now;
      const left = Math.round((last - result.step) / perSecond / 60);
      const line = `step ${result.step}/${run.steps}  loss ${smooth.toFixed(4)}  rate ${result.learningRate.toExponential(2)}  ${(perSecond * run.batchSize).toFixed(0)} lines/s  ${left} min left`;
      io.err(io.isTerminal ? `\r\u001b[K${line}` : `${line}\n`);
    }
    if (!dry && (result.step % run.evaluateEvery === 0 || result.step === last)) {
      const report = await work.evaluate();
      log({ step: result.step, ...report });
      io.err(
        `${io.isTerminal ? '\n' : ''}step ${result.step}: held-out CER ${(100 * report.cer).toFixed(2)} %  e.g. ${JSON.stringify(report.samples[0])}\n`,
      );
    }
    if (!dry && (result.step % run.saveEvery === 0 || result.step === last)) await work.save();
  }
  if (io.isTerminal) io.err('\n');
  return 0;
}
