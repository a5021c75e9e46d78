import { AbortedError, InputError, messageOf, RuntimeUnavailableError, VaryclipError } from '../core/errors.js';
import { expectFilePlace } from '../node/atomic.js';
import { expectNoInput } from '../node/output-place.js';
import { type Arguments, describeOptions, type OptionSpecs, parseArguments } from './arguments.js';
import { benchCommand } from './bench.js';
import { classifyCommand } from './classify.js';
import { type Command, exitInterrupted, type Io, ioOver, type Streams } from './command.js';
import { dataCommand } from './data.js';
import { doctorCommand } from './doctor.js';
import { embedCommand } from './embed.js';
import { evaluateCommand } from './evaluate.js';
import { indexCommand } from './index-pictures.js';
import { initCommand } from './init.js';
import { inspectCommand } from './inspect.js';
import { didYouMean } from './nearest.js';
import { programVersion } from './program-version.js';
import { pullCommand } from './pull.js';
import { quantizeCommand } from './quantize.js';
import { readCommand } from './read.js';
import { searchCommand } from './search.js';
import { serveCommand } from './serve.js';
import { trainCommand } from './train.js';

const commands: Readonly<Record<string, Command>> = {
  read: readCommand,
  classify: classifyCommand,
  embed: embedCommand,
  index: indexCommand,
  search: searchCommand,
  serve: serveCommand,
  evaluate: evaluateCommand,
  data: dataCommand,
  train: trainCommand,
  pull: pullCommand,
  quantize: quantizeCommand,
  init: initCommand,
  inspect: inspectCommand,
  doctor: doctorCommand,
  bench: benchCommand,
};

const common = { help: { type: 'boolean', short: 'h', help: 'show this' } } as const;

function help(): string {
  const names = Object.keys(commands);
  const width = Math.max(...names.map((name) => name.length)) + 2;
  const lines = names.map((name) => `  ${name.padEnd(width)}${commands[name].summary}`);
  return `varyclip: reads images\n\nusage: varyclip COMMAND [options]\n\n${lines.join('\n')}\n\nvaryclip COMMAND --help tells more. Exit codes: 0 ok, 1 failure, 2 wrong input, 3 some items failed, 130 interrupted, 143 terminated.\n`;
}

/** The command of that name. Throws InputError that suggests the nearest one. */
function findCommand(name: string): Command {
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
  const command = findCommand(name);
  const options: OptionSpecs = { ...command.options, ...common };
  const parsed = parseArguments(rest, options);
  if (parsed.flag('help')) {
    io.out(`${command.usage}\n\n${command.summary}\n\n${describeOptions(options)}\n`);
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
