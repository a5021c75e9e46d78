import { AbortedError, InputError, messageOf, RuntimeUnavailableError, VaryclipError } from '../core/errors.js';
import { expectFilePlace } from '../node/atomic.js';
import { expectNoInput } from '../node/output-place.js';
import { type Arguments, describeOptions, type OptionSpecs, parseArguments } from './arguments.js';
import { type Command, exitInterrupted, type Io, ioOver, type Streams } from './command.js';
import { didYouMean } from './nearest.js';
import { programVersion } from './program-version.js';

interface Entry {
  readonly summary: string;
  readonly load: () => Promise<Command>;
}

/** A command is loaded when it is asked for: all of them together take longer to load than most take to begin. */
const commands: Readonly<Record<string, Entry>> = {
  read: {
    summary: 'turn page images into text',
    load: async () => (await import('./read.js')).readCommand,
  },
  classify: {
    summary: 'say which of some labels fits an image best',
    load: async () => (await import('./classify.js')).classifyCommand,
  },
  embed: {
    summary: 'turn images and texts into vectors of one space',
    load: async () => (await import('./embed.js')).embedCommand,
  },
  index: {
    summary: 'make pictures of a folder searchable, or bring an index up to date',
    load: async () => (await import('./index-pictures.js')).indexCommand,
  },
  search: {
    summary: 'find pictures of an index by words, by a picture, or those that are alike',
    load: async () => (await import('./search.js')).searchCommand,
  },
  serve: {
    summary: 'answer over HTTP as an OpenAI-compatible server does',
    load: async () => (await import('./serve.js')).serveCommand,
  },
  evaluate: {
    summary: 'measure readings of a folder of images against their texts, or how well pictures are told apart',
    load: async () => (await import('./evaluate.js')).evaluateCommand,
  },
  data: {
    summary: 'check a training data file, or show some of its samples',
    load: async () => (await import('./data.js')).dataCommand,
  },
  train: {
    summary: 'train a model as a run file says; goes on where it stopped',
    load: async () => (await import('./train.js')).trainCommand,
  },
  pull: {
    summary: "download a model into the cache that Hugging Face's libraries share",
    load: async () => (await import('./pull.js')).pullCommand,
  },
  quantize: {
    summary: "write a checkpoint with the decoder's matrices in 8 or 4 bits",
    load: async () => (await import('./quantize.js')).quantizeCommand,
  },
  init: {
    summary: 'make a checkpoint to train: of a published OPT and SAM, or with random weights',
    load: async () => (await import('./init.js')).initCommand,
  },
  inspect: {
    summary: 'print what a checkpoint is, and what would fail to load',
    load: async () => (await import('./inspect.js')).inspectCommand,
  },
  doctor: {
    summary: 'say what works on this machine, and how to get what does not',
    load: async () => (await import('./doctor.js')).doctorCommand,
  },
  bench: {
    summary: 'measure full-size shapes with random weights on this machine',
    load: async () => (await import('./bench.js')).benchCommand,
  },
};

const common = { help: { type: 'boolean', short: 'h', help: 'show this' } } as const;

function help(): string {
  const names = Object.keys(commands);
  const width = Math.max(...names.map((name) => name.length)) + 2;
  const lines = names.map((name) => `  ${name.padEnd(width)}${commands[name].summary}`);
  return `varyclip: reads images\n\nusage: varyclip COMMAND [options]\n\n${lines.join('\n')}\n\nvaryclip COMMAND --help tells more. Exit codes: 0 ok, 1 failure, 2 wrong input, 3 some items failed, 130 interrupted, 143 terminated.\n`;
}

/** The command of that name. Throws InputError that suggests the nearest one. */
function findCommand(name: string): Entry {
  if (Object.hasOwn(commands, name)) return commands[name];
  const hint = didYouMean(name, Object.keys(commands));
  throw new InputError(`there is no command ${name}${hint}; varyclip --help lists them`);
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    (name === undefined ? io.err : io.out)(help());
    return name === undefined ? 2 : 0;
  }
  if (name === '--version' || name === '-v') {
    io.out(`${programVersion()}\n`);
    return 0;
  }
  const { summary, load } = findCommand(name);
  const command = await load();
  const options: OptionSpecs = { ...command.options, ...common };
  const parsed = parseArguments(rest, options);
  if (parsed.flag('help')) {
    io.out(`${command.usage}\n\n${summary}\n\n${describeOptions(options)}\n`);
    return 0;
  }
  const { mostArguments = Number.POSITIVE_INFINITY } = command;
  if (parsed.positionals.length > mostArguments)
    throw new InputError(
      `${name}: ${parsed.positionals[mostArguments]} is one argument too many; see varyclip ${name} --help`,
    );
  const inputs = inputsOf(command, parsed);
  for (const [option, { writes }] of Object.entries(options)) {
    const path = writes && parsed.text(option);
    if (path === undefined) continue;
    if (path === '') throw new InputError(`--${option}: expected the name of a ${writes}, got an empty one`);
    io.workForFiles();
    if (writes !== 'file') continue;
    expectFilePlace(path);
    expectNoInput(`--${option}`, path, inputs);
  }
  return command.run(parsed, io);
}

/** What the command line itself names for reading. What is found only with that, as in lists, commands look at themselves. */
function inputsOf({ options, inputs = (all) => all }: Command, args: Arguments): string[] {
  const named = Object.entries(options).flatMap(([name, { reads, multiple }]) => {
    if (!reads) return [];
    return multiple ? args.texts(name) : (args.text(name) ?? []);
  });
  return [...inputs(args.positionals), ...named];
}

function exitCodeOf(error: unknown): number {
  if (error instanceof AbortedError) return exitInterrupted;
  return error instanceof InputError || error instanceof RuntimeUnavailableError ? 2 : 1;
}

/**
 * Runs a command line and returns its exit code: 0 ok, 1 failure, 2 wrong input, 3 some items failed, 130 interrupted. Whatever is
 * thrown becomes a message on `err`; only what is no error of ours shows where it came from.
 */
export async function runCommandLine(args: readonly string[], streams: Streams): Promise<number> {
  const io = ioOver(streams);
  try {
    return await run(args, io);
  } catch (error) {
    const expected = error instanceof VaryclipError;
    io.err(`varyclip: ${expected ? error.message : ((error as Error).stack ?? messageOf(error))}\n`);
    return exitCodeOf(error);
  }
}
