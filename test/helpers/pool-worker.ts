/** Threads for the tests of the pool: they answer, wait for ever, or end. */
import { setTimeout as sleep } from 'node:timers/promises';
import { workerData } from 'node:worker_threads';
import sharp from 'sharp';
import { InputError } from '../../src/core/errors.js';
import { serveJobs } from '../../src/node/worker-pool.js';

export type PoolJob =
  | { readonly do: 'answer'; readonly bytes: Uint8Array; readonly after?: number }
  | { readonly do: 'refuse' | 'fail' | 'spin' | 'decode' | 'exit' | 'throw later' };

if (workerData === 'broken') throw new Error('cannot begin');

const picture = () =>
  sharp({
    create: {
      width: 700,
      height: 700,
      channels: 3,
      background: '#888',
      noise: { type: 'gaussian', mean: 128, sigma: 60 },
    },
  })
    .jpeg()
    .toBuffer();

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
    case 'decode':
      // Outside of JavaScript nearly all the time, in several of libuv's threads.
      for (;;) await Promise.all([picture(), picture(), picture()]);
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
