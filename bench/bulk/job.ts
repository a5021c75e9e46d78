import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { readRange } from '../../src/node/files.js';

const bin = fileURLToPath(new URL('../../../bin/varyclip.js', import.meta.url));

export interface JobOptions {
  readonly out: string;
  /** What follows `read … --out OUT`. */
  readonly args: readonly string[];
  /** Runs on this core alone. */
  readonly core?: number;
  readonly rank?: number;
  /** The job stands still meanwhile, each time another `every` pages are read, but not after the last of `pages`: it may be done then. */
  readonly pause?: {
    readonly every: number;
    readonly pages: number;
    readonly during: (chunk: Chunk) => Promise<void>;
  };
  /** Ends the job when the first page is out. */
  readonly firstPageOnly?: boolean;
}

/** Pages [from, to) that a job has read, their lines, and the seconds in which it ran. */
export interface Chunk {
  readonly from: number;
  readonly to: number;
  readonly lines: number;
  readonly seconds: number;
}

/** What a job's process did. */
export interface JobRun {
  readonly pages: number;
  readonly lines: number;
  /** From the first page asked for to the last one's files; what it stood still is not in it. */
  readonly seconds: number;
  /** From the start of the process to the first page in the journal. */
  readonly firstPage: number;
  /** Of a processor, all threads together. */
  readonly cpuSeconds: number;
  /** Megabytes. */
  readonly peak: number;
  /** Pages and megabytes, ten times a second. */
  readonly memory: readonly (readonly [pages: number, megabytes: number])[];
}

/** Pages and lines in a journal, as they come. */
function followJournal(path: string) {
  let [at, pages, lines] = [0, 0, 0];
  let rest = '';
  return () => {
    if (!existsSync(path)) return { pages, lines };
    const handle = openSync(path, 'r');
    // Only what is new: room for more would be filled with zeros ten times a second, on the cores that are measured.
    const bytes = readRange(handle, at, Math.max(0, fstatSync(handle).size - at));
    closeSync(handle);
    at += bytes.length;
    const texts = (rest + Buffer.from(bytes).toString('latin1')).split('\n');
    rest = texts.pop() ?? '';
    for (const text of texts) {
      const { reading } = JSON.parse(text) as { reading?: { lines?: readonly unknown[] } };
      if (!reading) continue;
      pages++;
      lines += reading.lines?.length ?? 0;
    }
    return { pages, lines };
  };
}

/** Seconds of processor time of a process and its threads; `getconf CLK_TCK` is 100 wherever Node runs. */
function cpuSecondsOf(pid: number): number | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return undefined;
  }
}

function memoryOf(pid: number, what: 'VmRSS' | 'VmHWM'): number | undefined {
  try {
    const found = new RegExp(`${what}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
    return found ? Number(found[1]) / 1024 : undefined;
  } catch {
    return undefined;
  }
}

function start({ out, args, core }: JobOptions) {
  const command = [process.execPath, bin, 'read', '--out', out, ...args];
  const [program, ...rest] = core === undefined ? command : ['taskset', '-c', String(core), ...command];
  const child = spawn(program, rest, { stdio: ['ignore', 'ignore', 'pipe'] });
  const errors: Buffer[] = [];
  child.stderr.on('data', (chunk: Buffer) => void errors.push(chunk));
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  return {
    child: child as ChildProcess & { readonly pid: number },
    ended,
    said: () => Buffer.concat(errors).toString(),
  };
}

/** Runs `varyclip read` and watches it. The process stands still while others are measured, so that both meet the same machine. */
export async function runJob(options: JobOptions): Promise<JobRun> {
  const { out, rank = 0, pause, firstPageOnly = false } = options;
  const state = join(out, '.varyclip');
  const progress = followJournal(join(state, `journal.${rank}.jsonl`));
  const began = performance.now();
  const { child, ended, said } = start(options);
  let over = false;
  const code = ended.finally(() => {
    over = true;
  });
  const memory: [number, number][] = [];
  let [firstPage, peak, paused, cpuSeconds] = [0, 0, 0, 0];
  let last = { pages: 0, lines: 0, time: began };
  while (!over) {
    await Promise.race([setTimeout(100), code]);
    const { pages, lines } = progress();
    memory.push([pages, memoryOf(child.pid, 'VmRSS') ?? memory.at(-1)?.[1] ?? 0]);
    peak = Math.max(peak, memoryOf(child.pid, 'VmHWM') ?? 0);
    cpuSeconds = cpuSecondsOf(child.pid) || cpuSeconds;
    if (pages > 0) firstPage ||= (performance.now() - began) / 1000;
    if (pages > 0 && firstPageOnly) child.kill('SIGINT');
    if (!pause || pages - last.pages < pause.every || pages >= pause.pages || over) continue;
    child.kill('SIGSTOP');
    const stopped = performance.now();
    const seconds = (stopped - last.time) / 1000;
    await pause.during({ from: last.pages, to: pages, lines: lines - last.lines, seconds });
    last = { pages, lines, time: performance.now() };
    paused += last.time - stopped;
    child.kill('SIGCONT');
  }
  const status = await code;
  if (firstPageOnly) return { ...progress(), seconds: 0, cpuSeconds, firstPage, peak, memory };
  if (status !== 0) throw new Error(`read --out ${out}: exit ${status}: ${said()}`);
  const report = JSON.parse(readFileSync(join(state, `report.${rank}.json`), 'utf8')) as { seconds: number };
  return { ...progress(), seconds: report.seconds - paused / 1000, cpuSeconds, firstPage, peak, memory };
}
