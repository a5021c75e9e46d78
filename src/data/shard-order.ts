/** The order of samples that can only be read shard by shard. */
import { InputError } from '../core/errors.js';
import { createRng } from '../core/rng.js';
import { permutation } from './order.js';

export interface ShardOrderOptions<T> {
  readonly shards: number;
  readonly seed: number;
  /** The samples of a shard, in order. */
  readonly open: (shard: number) => AsyncIterable<T>;
  /** Samples among which the next is drawn. Default 1000; 1 leaves them in the order of their shard. */
  readonly buffer?: number;
  /** Of several processes: this one reads every `ranks`-th shard of an epoch. Default 0 of 1. */
  readonly rank?: number;
  readonly ranks?: number;
}

/**
 * Samples without end: shards in an order that seed and epoch decide, each next sample drawn from a buffer. A function of the
 * shards, the options and nothing else. Throws InputError where there are fewer shards than processes, or no samples.
 */
export async function* shuffledSamples<T>(options: ShardOrderOptions<T>): AsyncGenerator<T> {
  const { shards, seed, open, buffer = 1000, rank = 0, ranks = 1 } = options;
  if (shards < ranks) throw new InputError(`data: ${shards} shards cannot be shared by ${ranks} processes; make more`);
  if (!(Number.isInteger(buffer) && buffer > 0)) {
    throw new InputError(`data: buffer: expected a whole number above 0, got ${buffer}`);
  }
  const rng = createRng(seed, 0x5b0f, rank);
  const waiting: T[] = [];
  for (let epoch = 0; ; epoch++) {
    const mine = [...permutation(shards, seed, 0x5a4d, epoch)].filter((_, i) => i % ranks === rank);
    let count = 0;
    for (const shard of mine)
      for await (const sample of open(shard)) {
        count++;
        if (waiting.length < buffer) waiting.push(sample);
        else {
          const at = rng.integer(0, buffer);
          yield waiting[at];
          waiting[at] = sample;
        }
      }
    if (count === 0) throw new InputError('data: the shards have no samples');
    // Where all of an epoch fits into the buffer, it comes whole before the next one.
    while (waiting.length > 0 && count <= buffer) yield waiting.splice(rng.integer(0, waiting.length), 1)[0];
  }
}
