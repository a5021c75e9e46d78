/** What commands have in common that several processes can share: which share is this one's, and the paths that are shared. */
import { InputError } from '../core/errors.js';
import { readText } from '../node/files.js';
import { type Shard, shardOf } from '../node/shard.js';
import type { Arguments, OptionSpecs } from './arguments.js';
import type { Io } from './command.js';

export const shardOptions: OptionSpecs = {
  shards: { type: 'string', value: 'N', help: 'processes that share the job (what mpirun or srun says)' },
  shard: { type: 'string', value: 'R', help: 'which of them this is, from 0' },
};

export const listOption: OptionSpecs = {
  list: {
    type: 'string',
    value: 'FILE',
    reads: true,
    help: 'read paths from a file, a line each; - for standard input',
  },
};

export function shardFrom(args: Arguments): Shard {
  const [shard, shards] = [args.index('shard'), args.count('shards')];
  return shardOf(process.env, { ...(shard !== undefined && { shard }), ...(shards !== undefined && { shards }) });
}

/** Where there are several processes, says which one this is. */
export function reportShard({ rank, size, from }: Shard, io: Io): void {
  if (size > 1) io.err(`varyclip: process ${rank} of ${size} (${from})\n`);
}

/** What standard input has. More than a string can hold is no list of paths. */
function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder().decode(bytes);
  } catch (cause) {
    throw new InputError(`--list -: expected a list of paths, got ${bytes.length} bytes, which are too many`, {
      cause,
    });
  }
}

/** The paths of a job: those named, and those of a list. Throws InputError for a list that only one of several processes has. */
export async function pathsOf(args: Arguments, io: Io, shard: Shard): Promise<string[]> {
  const list = args.text('list');
  if (list === undefined) return [...args.positionals];
  if (list === '-' && shard.size > 1) {
    throw new InputError('--list -: every process needs the whole list; write it into a file: --list FILE');
  }
  const text = list === '-' ? textOf(await io.readStdin()) : readText(list, `--list ${list}`);
  const listed = text.split('\n').map((line) => line.replace(/\r$/, ''));
  return [...args.positionals, ...listed.filter((line) => line !== '')];
}
