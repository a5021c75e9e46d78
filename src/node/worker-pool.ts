import { parentPort, type Transferable, Worker } from 'node:worker_threads';
import {
  AbortedError,
  InputError,
  messageOf,
  ThreadEndedError,
  TimeLimitError,
  VaryclipError,
} from '../core/errors.js';
import { mostSeconds } from '../core/timers.js';

/** Threads that do jobs of one kind. */
export interface WorkerPool<Job, Result> {
  /**
   * `transfer` names the memory of a job that is handed over, not copied. Throws InputError where the job's input is wrong,
   * TimeLimitError, ThreadEndedError.
   */
  run(job: Job, transfer?: readonly Transferable[]): Promise<Result>;
  dispose(): Promise<void>;
}

export interface WorkerPoolOptions {
  /** The module of the threads, which calls `serveJobs`. */
  readonly module: URL;
  /** What every thread starts with. */
  readonly data: unknown;
  readonly threads: number;
  /**
   * Jobs a thread works on at once: one may wait for what is done outside of JavaScript while another goes on. A thread that ends
   * takes all of them with it.
   */
  readonly jobsPerThread: number;
  /** What messages call the whole. */
  readonly name: string;
  /** Seconds a job may take; its thread ends then. Default: no limit. */
  readonly timeLimit?: number;
}

interface Waiting<Job, Result> {
  readonly id: number;
  readonly job: Job;
  readonly transfer: readonly Transferable[];
  readonly resolve: (result: Result) => void;
  readonly reject: (error: Error) => void;
}

interface Running<Job, Result> extends Waiting<Job, Result> {
  readonly worker: Worker;
  readonly timer: NodeJS.Timeout | undefined;
}

/** `problem`: the input is wrong; `failure`: this program is. */
type Answer<Result> = { readonly id: number } & (
  | { readonly result: Result }
  | { readonly problem: string }
  | { readonly failure: string }
);

/**
 * Starts the threads. Idle ones do not keep the process alive. A thread that ends fails its jobs and no others; another one begins
 * when there is a job for it, so threads that cannot even begin fail a job each, and not without end.
 */
export function createWorkerPool<Job, Result>({
  module,
  data,
  threads: count,
  jobsPerThread,
  name,
  timeLimit,
}: WorkerPoolOptions): WorkerPool<Job, Result> {
  expectTimeLimit(timeLimit, name);
  const queue: Waiting<Job, Result>[] = [];
  const running = createRunning<Job, Result>();
  const threads = new Set<Worker>();
  const ending = new Set<Promise<unknown>>();
  /** A thread stands here once for every job it could take. */
  let free: Worker[] = [];
  let nextId = 0;
  let disposed: AbortedError | undefined;
  const feed = () => {
    while (queue.length > 0) {
      if (free.length === 0 && threads.size < count) start();
      const worker = free.shift();
      if (!worker) return;
      give(worker, queue.shift() as Waiting<Job, Result>);
    }
  };
  const give = (worker: Worker, waiting: Waiting<Job, Result>) => {
    const { id, job, transfer } = waiting;
    const late = () => end(worker, new TimeLimitError(`${name}: took longer than ${timeLimit} s`));
    const timer = timeLimit === undefined ? undefined : setTimeout(late, 1000 * timeLimit);
    running.add({ ...waiting, worker, timer });
    worker.ref();
    worker.postMessage({ id, job }, transfer);
  };
  const end = (worker: Worker, error: VaryclipError) => {
    if (!threads.delete(worker)) return;
    // An idle thread would not keep the process alive until it has ended.
    worker.ref();
    const ended = worker.terminate().finally(() => ending.delete(ended));
    ending.add(ended);
    free = free.filter((other) => other !== worker);
    for (const { reject } of running.finishAll(worker)) reject(error);
    feed();
  };
  const ended = (worker: Worker, cause?: unknown) => {
    const why = cause === undefined ? '' : `: ${messageOf(cause)}`;
    end(worker, new ThreadEndedError(`${name}: the thread that worked on it ended${why}`, { cause }));
  };
  const start = () => {
    const worker = new Worker(module, { workerData: data });
    threads.add(worker);
    worker.on('message', (answer: Answer<Result>) => {
      // A thread that was given up may answer yet.
      if (!threads.has(worker)) return;
      const own = running.finish(answer.id);
      free.push(worker);
      if (!running.has(worker)) worker.unref();
      if (own) settle(own, answer, name);
      feed();
    });
    worker.on('error', (cause: unknown) => ended(worker, cause));
    worker.on('exit', () => ended(worker));
    worker.unref();
    for (let job = 0; job < jobsPerThread; job++) free.push(worker);
  };
  for (let i = 0; i < count; i++) start();
  return {
    run: (job, transfer = []) =>
      new Promise((resolve, reject) => {
        if (disposed) return reject(disposed);
        queue.push({ id: nextId++, job, transfer, resolve, reject });
        feed();
      }),
    dispose: async () => {
      disposed ??= new AbortedError(`${name}: was disposed`);
      for (const { reject } of queue.splice(0)) reject(disposed);
      for (const worker of [...threads]) end(worker, disposed);
      await Promise.all(ending);
    },
  };
}

function expectTimeLimit(seconds: number | undefined, name: string): void {
  if (seconds === undefined || (seconds >= 0 && seconds <= mostSeconds)) return;
  throw new InputError(`${name}: time limit: expected from 0 to ${mostSeconds} seconds, got ${seconds}`);
}

/** The jobs that threads work on, by number. A job that is finished has no timer any more. */
function createRunning<Job, Result>() {
  const jobs = new Map<number, Running<Job, Result>>();
  const finish = (id: number): Running<Job, Result> | undefined => {
    const own = jobs.get(id);
    clearTimeout(own?.timer);
    jobs.delete(id);
    return own;
  };
  const of = (worker?: Worker) => [...jobs.values()].filter((own) => worker === undefined || own.worker === worker);
  return {
    add: (job: Running<Job, Result>) => void jobs.set(job.id, job),
    has: (worker: Worker): boolean => of(worker).length > 0,
    finish,
    /** Those of one thread, or of all. */
    finishAll: (worker?: Worker) => of(worker).map(({ id }) => finish(id) as Running<Job, Result>),
  };
}

function settle<Job, Result>({ resolve, reject }: Waiting<Job, Result>, answer: Answer<Result>, name: string): void {
  if ('result' in answer) resolve(answer.result);
  else if ('problem' in answer) reject(new InputError(answer.problem));
  else reject(new VaryclipError(`${name}: ${answer.failure}`));
}

/** The memory that belongs to these arrays alone, for handing it over; what is a part of other memory is copied instead. */
export function ownMemory(arrays: readonly ArrayBufferView[]): Transferable[] {
  const own = arrays.filter(
    ({ buffer, byteLength }) => buffer instanceof ArrayBuffer && buffer.byteLength === byteLength,
  );
  return [...new Set(own.map(({ buffer }) => buffer as ArrayBuffer))];
}

/** The body of a thread: does the jobs it is sent. `transfer` names the memory of a result that is handed over, not copied. */
export function serveJobs<Job, Result>(
  handle: (job: Job) => Promise<Result>,
  transfer: (result: Result) => Transferable[] = () => [],
): void {
  const port = parentPort;
  port?.on('message', async ({ id, job }: { readonly id: number; readonly job: Job }) => {
    try {
      const result = await handle(job);
      port.postMessage({ id, result } satisfies Answer<Result>, transfer(result));
    } catch (error) {
      const isProblem = error instanceof InputError;
      port.postMessage({
        id,
        [isProblem ? 'problem' : 'failure']: isProblem ? messageOf(error) : String((error as Error).stack ?? error),
      });
    }
  });
}
