import { InputError } from '../core/errors.js';
import { pullModel } from '../node/hub/pull.js';
import { hubSettings } from '../node/hub/settings.js';
import { type Command, statusLine } from './command.js';

export const pullCommand: Command = {
  usage: 'varyclip pull ORG/NAME [--revision REVISION] [--json]',
  options: {
    revision: { type: 'string', value: 'REVISION', help: 'branch, tag or commit (main)' },
    json: { type: 'boolean', help: 'one JSON document' },
  },
  run: async (args, io) => {
    const [id, ...more] = args.positionals;
    if (id === undefined || more.length > 0) throw new InputError('pull: name one model on the hub: org/name');
    const revision = args.text('revision');
    const status = statusLine(io);
    let shownAt = 0;
    try {
      const result = await pullModel(id, {
        settings: hubSettings(process.env),
        signal: io.signal,
        ...(revision !== undefined && { revision }),
        onProgress: ({ file, done, size }) => {
          if (done < size && performance.now() - shownAt < 100) return;
          shownAt = performance.now();
          status(`${file} ${megabytes(done)} of ${megabytes(size)} MB`);
        },
      });
      status('');
      const fresh = result.files.filter(({ downloaded }) => downloaded);
      const bytes = fresh.reduce((sum, { size }) => sum + size, 0);
      io.err(`varyclip: ${id}: ${fresh.length} of ${result.files.length} files downloaded, ${megabytes(bytes)} MB\n`);
      io.out(`${args.flag('json') ? JSON.stringify(result) : result.directory}\n`);
      return 0;
    } finally {
      status('');
    }
  },
};

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
