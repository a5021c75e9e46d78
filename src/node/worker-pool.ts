import { parentPort, type Transferable, Worker } from 'node:worker_threads';
import { AbortedError, InputError, messageOf, VaryclipError } from '../core/errors.js';

/** Threads that do jobs of one kind. */
export interface WorkerPool<Job, Result> {
  /** Throws InputError where the job's input is wrong. */
  run(job: Job): Promise<Result>;
  dispose(): Promise<void>;
}

export interface WorkerPoolOptions {
  /** The module of the threads, which calls `serveJobs`. */
  readonly module: URL;
  /** What every thread starts with. */
  readonly data: unknown;
  readonly threads: number;
  /** Jobs a thread works on at once: one may wait for what is done outside of JavaScript while another goes on. */
  readonly jobsPerThread: number;
  /** What messages call the whole. */
  readonly name: string;
  /**
   * Seconds a job may take. With it a thread that takes longer or ends takes no others with it: its jobs fail with an InputError
   * and another thread begins. Default: no limit, and a thread that ends ends the pool.
   */
  readonly timeLimit?: number;
}

interface Waiting<Job, Result> {
  readonly id: number;
  readonly job: Job;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: Error) => void;
}

interface Running<Job, Result> extends Waiting<Job, Result> {
  readonly worker: Worker;
  readonly timer?: NodeJS.Timeout;
}

/** `problem`: the input is wrong; `failure`: this program is. */
type Answer<Result> = { readonly id: number } & (
  | { readonly result: Result }
  | { readonly problem: string }
  | { readonly failure: string }
);

/** Starts the threads. Idle ones do not keep the process alive. */
export function createWorkerPool<Job, Result>({
  module,
  data,
  threads: count,
  jobsPerThread,
  name,
  timeLimit,
}: WorkerPoolOptions): WorkerPool<Job, Result> {
  const queue: Waiting<Job, Result>[] = [];
  const running = createRunning<Job, Result>();
  const threads = new Set<Worker>();
  /** A thread stands here once for every job it could take. */
  let free: Worker[] = [];
  let nextId = 0;
  let broken: Error | undefined;
  const feed = () => {
    while (queue.length > 0 && free.length > 0) {
      const [worker, waiting] = [free.shift() as Worker, queue.shift() as Waiting<Job, Result>];
      const late = () => replace(worker, new InputError(`took longer than ${timeLimit} s`));
      const timer = timeLimit === undefined ? undefined : setTimeout(late, 1000 * timeLimit);
      running.add({ ...waiting, worker, ...(timer && { timer }) });
      worker.ref();
      worker.postMessage({ id: waiting.id, job: waiting.job });
    }
  };
  const fail = (error: Error) => {
    broken ??= error;
    for (const { reject } of queue.splice(0)) reject(broken);
    for (const { reject } of running.finishAll()) reject(broken);
  };
  /** Another thread instead of one that ended or takes too long. */
  const replace = (worker: Worker, error: InputError) => {
    if (!threads.delete(worker)) return;
    void worker.terminate();
    free = free.filter((other) => other !== worker);
    for (const { reject } of running.finishAll(worker)) reject(error);
    start();
    feed();
  };
  const ended = (worker: Worker, what: string, cause?: unknown) => {
    const error = new VaryclipError(`${name}: a worker thread ${what}`, { cause });
    if (timeLimit === undefined || broken) fail(error);
    else
      replace(
        worker,
        new InputError(`ended the thread that worked on it${cause ? `: ${messageOf(cause)}` : ''}`, { cause }),
      );
  };
  const start = () => {
    const worker = new Worker(module, { workerData: data });
    threads.add(worker);
    worker.on('message', (answer: Answer<Result>) => {
      // After the end a late answer must not let go of a thread that is waited for.
      if (broken) return;
      const own = running.finish(answer.id);
      free.push(worker);
      if (!running.has(worker)) worker.unref();
      if (own) settle(own, answer, name);
      feed();
    });
    worker.on('error', (cause: unknown) => ended(worker, 'failed', cause));
    worker.on('exit', () => ended(worker, 'ended'));
    worker.unref();
    for (let job = 0; job < jobsPerThread; job++) free.push(worker);
  };
  for (let i = 0; i < count; i++) start();
  return {
    run: (job) =>
      new Promise((resolve, reject) => {
        if (broken) return reject(broken);
        queue.push({ id: nextId++, job, resolve, reject });
        feed();
      }),
    dispose: async () => {
      fail(new AbortedError(`${name}: was disposed`));
      await Promise.all([...threads].map((worker) => worker.terminate()));
    },
  };
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
