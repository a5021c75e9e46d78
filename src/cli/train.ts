import { basename, dirname, resolve } from 'node:path';
import { InputError, messageOf } from '../core/errors.js';
import { asObject } from '../core/json.js';
import { readJson } from '../node/files.js';
import { joinMpi, type MpiPeers } from '../node/mpi.js';
import { lockRun } from '../node/training/lock-run.js';
import { loop, type Progress } from '../node/training/loop.js';
import { type MetricsLog, openMetrics } from '../node/training/metrics-log.js';
import { parseRun, type Run } from '../node/training/run-file.js';
import { newestRun, removeLeftovers } from '../node/training/save.js';
import { type RunningTraining, startRun } from '../node/training/start-run.js';
import { NotFiniteError } from '../train/trainer.js';
import type { Arguments } from './arguments.js';
import { type Command, exitInterrupted, type Io } from './command.js';
import { threadsOf } from './load-options.js';

export const trainCommand: Command = {
  usage: 'varyclip train RUN.json [--dry-run] [--threads N]',
  options: {
    'dry-run': { type: 'boolean', help: 'check the run file, make one batch and one step, save nothing' },
    threads: { type: 'string', short: 't', value: 'N', help: 'threads (all cores)' },
  },
  mostArguments: 1,
  run: train,
};

async function train(args: Arguments, io: Io): Promise<number> {
  const [path] = args.positionals;
  if (path === undefined) throw new InputError('train: name a run file: varyclip train runs/vary-nano/tower.json');
  const base = dirname(resolve(path));
  const json = readJson(base, basename(path));
  if (json === undefined) throw new InputError(`${path}: there is no such run file`);
  const run = parseRun(asObject(json, path), { where: path, base });
  const [threads, dry] = [threadsOf(args, 'threads'), args.flag('dry-run')];
  const peers = joinMpi();
  const group: Group = { ...(peers && { peers }), leads: (peers?.rank ?? 0) === 0 };
  try {
    // Before anything in the folder is looked at. A dry run writes nothing there.
    const unlock = group.leads && !dry ? lockRun(run.out) : undefined;
    const code = await trainTogether(run, { path, dry, threads, group }, io).finally(unlock);
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
  readonly path: string;
  readonly dry: boolean;
  readonly threads: number | undefined;
  readonly group: Group;
}

async function trainTogether(run: Run, { path, dry, threads, group }: Plan, io: Io): Promise<number> {
  const { path: newest, damaged } = newestRun(run.out);
  const tell = (text: string) => {
    if (group.leads) io.err(`varyclip: ${text}\n`);
  };
  for (const text of damaged) tell(`passed over ${text}`);
  const work = await startRun(run, {
    resume: dry ? undefined : newest,
    peers: group.peers,
    ...(threads !== undefined && { threads }),
  });
  try {
    if (dry) return await dryRun(run, work, { newest, group }, io);
    const metrics = group.leads
      ? openMetrics(run.out, work.stepsDone, { title: `varyclip train ${path}`, unit: work.unit })
      : undefined;
    if (group.leads) removeLeftovers(run.out);
    if (newest !== undefined) tell(`goes on from ${newest}`);
    if (metrics?.lostUntil !== undefined) {
      tell(`steps ${work.stepsDone + 1} to ${metrics.lostUntil} were not saved and are done again`);
    }
    return await trainOn(run, work, { metrics, group }, io);
  } finally {
    await work.dispose();
  }
}

/** Says what would happen, and tries one step; nothing is written. */
async function dryRun(
  run: Run,
  work: RunningTraining,
  { newest, group }: { readonly newest: string | undefined; readonly group: Group },
  io: Io,
): Promise<number> {
  const { loss, gradNorm, skipped, bad } = await work.step();
  if (!group.leads) return 0;
  const lines = [
    `task ${run.task}, from ${run.start}`,
    ...work.summary,
    `${work.steps} steps of ${run.accumulate} × ${run.batchSize} samples${group.peers ? ` on each of ${group.peers.size} processes` : ''}`,
    newest === undefined ? `would begin in ${run.out}` : `would go on from ${newest}`,
    ...bad.map((problem) => `left out: ${problem}`),
    skipped
      ? 'the first batch has no whole sample'
      : `first step: loss ${loss.toFixed(4)}, gradient norm ${gradNorm.toFixed(3)}`,
    'nothing was saved',
  ];
  io.out(`${lines.join('\n')}\n`);
  return 0;
}

async function trainOn(
  run: Run,
  work: RunningTraining,
  { metrics, group }: { readonly metrics: MetricsLog | undefined; readonly group: Group },
  io: Io,
): Promise<number> {
  const line = progressLine(io, work.unit);
  try {
    const { ended, saved } = await loop(work, {
      logEvery: run.logEvery,
      evaluateEvery: run.evaluateEvery,
      saveEvery: run.saveEvery,
      patience: run.earlyStop?.evaluations,
      signal: io.signal,
      peers: group.peers,
      metrics,
      onStep: (progress) => group.leads && line.show(progress),
      onBad: (problem) => line.print(`varyclip: left out: ${problem}`),
      onEvaluation: (step, { figures, samples }) => {
        const shown = Object.entries(figures).map(([name, value]) => `${name} ${value.toFixed(4)}`);
        const example = samples.length > 0 ? `  e.g. ${JSON.stringify(samples[0])}` : '';
        line.print(`step ${step}: held-out ${shown.join(', ')}${example}`);
      },
    });
    if (!group.leads) return ended === 'interrupted' ? exitInterrupted : 0;
    const reason = { done: 'done', early: 'no longer improves', interrupted: 'interrupted' }[ended];
    line.print(`varyclip: ${reason}; saved ${saved}`);
    return ended === 'interrupted' ? exitInterrupted : 0;
  } catch (error) {
    line.print('');
    if (!(error instanceof NotFiniteError)) throw error;
    metrics?.add({ step: work.stepsDone + 1, error: error.message });
    metrics?.report();
    const { path: kept } = newestRun(run.out);
    const good = kept === undefined ? 'there is no checkpoint yet' : `the last good checkpoint is ${kept}`;
    throw new NotFiniteError(
      `${error.message}; ${good}; look at these samples, or take a lower learningRate in a new run from it`,
      { cause: error },
    );
  }
}

/** One line on a terminal, which each step overwrites; elsewhere a line every half a minute. */
function progressLine(io: Io, unit: string) {
  let [shownAt, shown] = [Number.NEGATIVE_INFINITY, ''];
  return {
    show: (progress: Progress) => {
      const now = performance.now();
      if (now - shownAt < (io.isTerminal ? 500 : 30_000) && progress.step < progress.steps) return;
      shownAt = now;
      const text = progressText(progress, unit);
      if (!io.isTerminal) return io.err(`${text}\n`);
      shown = text;
      io.status(text);
    },
    /** A line of its own; the last one about progress stays above it. */
    print: (text: string) => {
      const lines = [shown, text].filter((line) => line !== '');
      shown = '';
      if (lines.length > 0) io.err(`${lines.join('\n')}\n`);
    },
  };
}

function progressText({ step, steps, smooth, learningRate, perSecond, secondsLeft }: Progress, unit: string): string {
  const rate = learningRate.toExponential(2);
  return `step ${step}/${steps}  loss ${smooth.toFixed(4)}  rate ${rate}  ${perSecond.toFixed(0)} ${unit}/s  ${durationText(secondsLeft)} left`;
}

/** Seconds as a person says them. */
export function durationText(seconds: number): string {
  const minutes = Math.round(seconds / 60);
  if (seconds < 60) return `${Math.ceil(seconds)} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.round(hours / 24)} days`;
}
