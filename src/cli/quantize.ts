import { InputError } from '../core/errors.js';
import { quantizeCheckpoint } from '../node/quantize.js';
import { type Command, statusLine } from './command.js';

export const quantizeCommand: Command = {
  usage: 'varyclip quantize DIR --precision int8|int4 --out DIR [--json]',
  options: {
    precision: { type: 'string', value: 'int8|int4', help: "of the decoder's matrices" },
    out: { type: 'string', short: 'o', value: 'DIR', writes: 'directory', help: 'directory to make' },
    json: { type: 'boolean', help: 'one JSON document' },
  },
  run: async (args, io) => {
    const [dir, ...more] = args.positionals;
    if (dir === undefined || more.length > 0) throw new InputError('quantize: name one checkpoint directory');
    const [precision, out] = [args.choice('precision', ['int8', 'int4']), args.text('out')];
    if (!precision) throw new InputError('quantize: say how small: --precision int8 or int4');
    if (out === undefined) throw new InputError('quantize: name a directory to make: --out DIR');
    const status = statusLine(io);
    const onTensor = (name: string) => status(`quantizing ${name}`);
    try {
      const result = await quantizeCheckpoint(dir, { precision, out, signal: io.signal, onTensor });
      status('');
      if (args.flag('json')) io.out(`${JSON.stringify({ directory: out, precision, ...result })}\n`);
      const sizes = [result.bytesBefore, result.bytes].map((bytes) => `${(bytes / 1e6).toFixed(1)} MB`);
      io.err(`varyclip: wrote ${out}: ${result.matrices} matrices in ${precision}, ${sizes.join(' -> ')}\n`);
      if (result.matrices === 0)
        io.err('varyclip: no matrix is large enough to be worth quantizing: nothing changed\n');
      return 0;
    } finally {
      status('');
    }
  },
};
