import { setMaxListeners } from 'node:events';
import { writeSync } from 'node:fs';
import { InputError, messageOf } from '../core/errors.js';
import { mostFileBytes } from '../image/image-header.js';
import { exitInterrupted, inertText, type Streams } from './command.js';
import { runCommandLine } from './run.js';

async function readStdin(): Promise<Uint8Array> {
  if (process.stdin.isTTY) throw new InputError('standard input is a terminal: pipe an image into it');
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of process.stdin) {
    size += (chunk as Uint8Array).length;
    // What never ends would take all memory.
    if (size > mostFileBytes)
      throw new InputError(`standard input: more than ${mostFileBytes} bytes, the most that is read`);
    chunks.push(chunk as Uint8Array);
  }
  return Buffer.concat(chunks);
}

const interrupt = new AbortController();
// However many parts of a command listen: it lives as long as they do.
setMaxListeners(0, interrupt.signal);
/** What ends a command in good order, and the code that shells have for it. */
const exitCodes = { SIGINT: exitInterrupted, SIGTERM: 143 } as const;
let ended: number | undefined;
let finished = false;

/** From here on the command itself ends in good order. One that never asks for the signal is ended at once, as programs are. */
function heedSignals(): void {
  for (const [name, code] of Object.entries(exitCodes)) {
    process.on(name, () => {
      // What was asked for is done already.
      if (finished) process.exit();
      // The second one does not wait for the step in flight.
      if (ended !== undefined) process.exit(code);
      ended = code;
      interrupt.abort();
    });
  }
}
let heeded = false;

let filesFollow = false;
let unread = false;
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // What is written after the reader left fails otherwise than the first.
  if (unread) return;
  // A reader that went away (head, less) is no error of ours.
  if (error.code === 'EPIPE') {
    unread = true;
    if (filesFollow) return;
    process.exit(0);
  }
  writeSync(process.stderr.fd, `varyclip: standard output cannot be written: ${messageOf(error)}\n`);
  process.exit(1);
});
// Messages that nobody hears do not end the work.
process.stderr.on('error', () => {});

const streams: Streams = {
  // What a model read, or a file's name, is not to be obeyed by a terminal; into a pipe it goes as it is.
  out: (text) => {
    if (!unread) process.stdout.write(process.stdout.isTTY ? inertText(text) : text);
  },
  err: (text) => void process.stderr.write(text),
  isTerminal: process.stderr.isTTY === true && process.env['TERM'] !== 'dumb',
  get signal() {
    if (!heeded) heedSignals();
    heeded = true;
    return interrupt.signal;
  },
  readStdin,
  workForFiles: () => {
    filesFollow = true;
  },
};
const code = await runCommandLine(process.argv.slice(2), streams);
process.exitCode = code === exitInterrupted ? (ended ?? code) : code;
finished = true;
// Node would let go of signals before the process is gone: another SIGTERM then would look like a crash.
process.once('beforeExit', () => process.exit());
