/** Threads for the tests of the pool: they answer, wait for ever, or end. */
import { setTimeout as sleep } from 'node:timers/promises';
import { workerData } from 'node:worker_threads';
import { InputError } from '../../src/core/errors.js';
import { serveJobs } from '../../src/node/worker-pool.js';

export type PoolJob =
  | { readonly do: 'answer'; readonly bytes: Uint8Array; readonly after?: number }
  | { readonly do: 'refuse' | 'fail' | 'spin' | 'exit' | 'throw later' };

if (workerData === 'broken') throw new Error('cannot begin');

serveJobs<PoolJob, number>(async (job) => {
  switch (job.do) {
    case 'answer':
      await sleep(job.after ?? 0);
      return job.bytes.length;
    case 'refuse':
      throw new InputError('not this');
    case 'fail':
      throw new TypeError('a mistake');
    case 'spin':
      for (;;);
    case 'exit':
      process.exit(3);
      break;
    case 'throw later':
      setTimeout(() => {
        throw new Error('out of nowhere');
      });
      await sleep(60_000);
  }
  return 0;
});
