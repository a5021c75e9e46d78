import { InputError } from '../core/errors.js';
import { parseStore } from '../node/search/open-store.js';
import { modelOfIndex, openIndex } from '../node/search/picture-index.js';
import { expectReading, takeTexts } from '../node/search/picture-texts.js';
import type { Arguments } from './arguments.js';
import { clipOptions, openClipModel } from './clip-options.js';
import { type Command, type Io, statusLine } from './command.js';
import { threadsOf } from './load-options.js';
import { reportShard, shardFrom, shardOptions } from './shared-job.js';
import { apiKeyOf, storeOptions } from './store-options.js';

const { truncate: _, ...modelOptions } = clipOptions;

export const indexCommand: Command = {
  usage: 'varyclip index FOLDER --out INDEX [--model DIR] [options]      (again: only what is new or changed is read)',
  options: {
    ...modelOptions,
    out: { type: 'string', short: 'o', value: 'INDEX', writes: 'directory', help: 'directory of the index' },
    workers: { type: 'string', value: 'N', help: 'threads that decode pictures (all cores, at most 4)' },
    store: {
      type: 'string',
      value: 'KIND',
      help: 'of a new index: flat (files), lancedb, or http://host:6333/COLLECTION of a Qdrant server (flat)',
    },
    ...storeOptions,
    texts: {
      type: 'string',
      value: 'DIR',
      help: 'where `read FOLDER --out DIR` wrote: pictures are found by what they say too',
    },
    ...shardOptions,
    json: { type: 'boolean', help: 'one JSON document' },
  },
  run: indexPictures,
};

async function indexPictures(args: Arguments, io: Io): Promise<number> {
  const [folder, ...rest] = args.positionals;
  if (folder === undefined || rest.length > 0) throw new InputError('index: name one folder of pictures');
  const out = args.text('out');
  if (out === undefined) throw new InputError('index: say where the index is to be: --out INDEX');
  const [workers, shard, named] = [threadsOf(args, 'workers'), shardFrom(args), args.text('store')];
  const store = named === undefined ? undefined : parseStore(named);
  if (shard.size > 1 && store?.kind === 'qdrant' && modelOfIndex(out) === undefined) {
    throw new InputError('--store: an index on a server is begun by one process; several can go on with it');
  }
  const texts = args.text('texts');
  // Not when all pictures are in.
  if (texts !== undefined) expectReading(folder, texts);
  const status = statusLine(io);
  reportShard(shard, io);
  status('loading');
  const model = await openClipModel('index', args, modelOfIndex(out));
  try {
    const index = await openIndex(out, {
      model,
      root: folder,
      ...(store && { store }),
      ...apiKeyOf(args),
    });
    try {
      const report = await index.update({
        shard,
        signal: io.signal,
        ...(workers !== undefined && { workers }),
        onProgress: ({ done, total, failed }) =>
          status(`${done} of ${total} pictures${failed > 0 ? `, ${failed} failed` : ''}`),
      });
      status('');
      for (const { reason } of report.failed) io.err(`varyclip: ${reason}\n`);
      if (report.left !== undefined) io.err(`varyclip: ${waitingText(report.left)}\n`);
      else if (texts !== undefined) io.err(`varyclip: ${takeTexts(out, folder, texts)} pictures have a text\n`);
      const { added, changed, removed, unchanged, failed } = report;
      // A share of several may well have none.
      if (shard.size === 1 && added + changed + unchanged + failed.length === 0)
        io.err(`varyclip: ${folder}: no pictures in it\n`);
      if (args.flag('json')) io.out(`${JSON.stringify(report)}\n`);
      else
        io.out(
          `${added} added, ${changed} changed, ${removed} removed, ${unchanged} unchanged, ${failed.length} failed\n`,
        );
      return failed.length > 0 ? 3 : 0;
    } finally {
      await index.dispose();
    }
  } finally {
    status('');
    await model.dispose();
  }
}

/** Why a share is not in the index yet. */
const waitingText = (left: number): string =>
  left === 0
    ? 'another process is putting the shares into the index'
    : `${left} pictures are left to other processes; the last one puts all shares into the index, or the next run`;
