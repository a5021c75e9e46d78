import { readFileSync } from 'node:fs';
import { AbortedError, InputError, messageOf, RuntimeUnavailableError, VaryclipError } from '../core/errors.js';
import { describeOptions, parseArguments } from './arguments.js';
import { benchCommand } from './bench.js';
import { type Command, exitInterrupted, type Io } from './command.js';
import { doctorCommand } from './doctor.js';
import { evaluateCommand } from './evaluate.js';
import { initCommand } from './init.js';
import { inspectCommand } from './inspect.js';
import { readCommand } from './read.js';

const commands: Readonly<Record<string, Command>> = {
  read: readCommand,
  evaluate: evaluateCommand,
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
  return `varyclip: reads images\n\nusage: varyclip COMMAND [options]\n\n${lines.join('\n')}\n\nvaryclip COMMAND --help tells more. Exit codes: 0 ok, 1 failure, 2 wrong input, 3 some items failed, 130 interrupted.\n`;
}

function version(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** The command of that name. Throws InputError that suggests the nearest one. */
function findCommand(name: string): Command {
  if (Object.hasOwn(commands, name)) return commands[name];
  const near = Object.keys(commands).find((known) => known.startsWith(name[0]) || known.includes(name));
  throw new InputError(
    `there is no command ${name}${near ? `; did you mean ${near}?` : ''}; varyclip --help lists them`,
  );
}

async function run(args: readonly string[], io: Io): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    (name === undefined ? io.err : io.out)(help());
    return name === undefined ? 2 : 0;
  }
  if (name === '--version' || name === '-v') {
    io.out(`${version()}\n`);
    return 0;
  }
  const command = findCommand(name);
  const options = { ...command.options, ...common };
  const parsed = parseArguments(rest, options);
  if (parsed.flag('help')) {
    io.out(`${command.usage}\n\n${command.summary}\n\n${describeOptions(options)}\n`);
    return 0;
  }
  return command.run(parsed, io);
}

function exitCodeOf(error: unknown): number {
  if (error instanceof AbortedError) return exitInterrupted;
  return error instanceof InputError || error instanceof RuntimeUnavailableError ? 2 : 1;
}

async function readStdin(): Promise<Uint8Array> {
  if (process.stdin.isTTY) throw new InputError('standard input is a terminal: pipe an image into it');
  const chunks: Uint8Array[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Uint8Array);
  return Buffer.concat(chunks);
}

const interrupt = new AbortController();
process.on('SIGINT', () => {
  // The second one does not wait for the step in flight.
  if (interrupt.signal.aborted) process.exit(exitInterrupted);
  interrupt.abort();
});
// A reader that went away (head, less) is no error of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

const io: Io = {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  isTerminal: process.stderr.isTTY === true && process.env['TERM'] !== 'dumb',
  signal: interrupt.signal,
  readStdin,
};
try {
  process.exitCode = await run(process.argv.slice(2), io);
} catch (error) {
  io.err(
    `varyclip: ${error instanceof VaryclipError ? error.message : ((error as Error).stack ?? messageOf(error))}\n`,
  );
  process.exitCode = exitCodeOf(error);
}
