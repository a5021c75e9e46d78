import { InputError } from '../core/errors.js';
import { clipNano } from '../models/clip.js';
import { varyNano, varyTiny } from '../models/vary.js';
import { resolveModel } from '../node/hub/resolve.js';
import { hubSettings } from '../node/hub/settings.js';
import { writeRandomClip } from '../node/init-clip.js';
import { assembleVary, writeRandomCheckpoint } from '../node/init-vary.js';
import type { Arguments } from './arguments.js';
import { type Command, type Io, statusLine } from './command.js';

/** What is made with random weights; each returns its number of parameters. */
const writers: ReadonlyMap<string, (out: string, seed: number) => Promise<number>> = new Map([
  ['vary-tiny', (out, seed) => writeRandomCheckpoint(out, varyTiny, seed)],
  ['vary-nano', (out, seed) => writeRandomCheckpoint(out, varyNano, seed)],
  ['clip-nano', (out, seed) => writeRandomClip(out, clipNano, seed)],
]);

export const initCommand: Command = {
  usage:
    'varyclip init vary-tiny --decoder DIR --tower FILE [--out DIR]\n       varyclip init vary-tiny|vary-nano|clip-nano --out DIR [--seed N]',
  options: {
    decoder: { type: 'string', value: 'DIR', help: 'a published OPT checkpoint, or org/name that was pulled' },
    tower: { type: 'string', value: 'FILE', help: "SAM's published .pth" },
    positions: { type: 'string', value: 'N', help: "the decoder's positions are stretched to as many (4096)" },
    out: { type: 'string', short: 'o', value: 'DIR', writes: 'directory', help: 'directory to make (vary-tiny)' },
    seed: { type: 'string', value: 'N', help: 'of the random weights (0)' },
  },
  mostArguments: 1,
  run: async (args, io) => {
    const [what] = args.positionals;
    const write = writers.get(what);
    if (!write) throw new InputError(`init: expected ${[...writers.keys()].join(', ')}`);
    const [decoder, tower] = [args.text('decoder'), args.text('tower')];
    if (decoder !== undefined && tower !== undefined && what === 'vary-tiny') return assemble(decoder, tower, args, io);
    if (decoder !== undefined || tower !== undefined) {
      throw new InputError('init: expected vary-tiny with both --decoder DIR and --tower FILE, or neither of them');
    }
    if (args.count('positions') !== undefined)
      throw new InputError('init: --positions goes with --decoder DIR and --tower FILE');
    const out = args.text('out');
    if (out === undefined) throw new InputError('init: name a directory to make: --out DIR');
    const parameters = await write(out, args.index('seed') ?? 0);
    io.err(`varyclip: wrote ${parameters.toLocaleString('en')} random parameters to ${out}: it knows nothing\n`);
    return 0;
  },
};

async function assemble(decoder: string, tower: string, args: Arguments, io: Io): Promise<number> {
  const out = args.text('out') ?? 'vary-tiny';
  const positions = args.count('positions');
  const status = statusLine(io);
  status(`making ${out}`);
  const { parameters, fresh } = await assembleVary(out, {
    decoder: await resolveModel(decoder, { settings: hubSettings(process.env) }),
    tower,
    seed: args.index('seed') ?? 0,
    ...(positions !== undefined && { positions }),
  }).finally(() => status(''));
  io.err(`varyclip: wrote ${parameters.toLocaleString('en')} parameters to ${out}; new ones: ${fresh.join(', ')}\n`);
  return 0;
}
