import type { Arguments, OptionSpecs } from './arguments.js';

/** Where a command's output goes: results to `out`, everything else to `err`. */
export interface Streams {
  out(text: string): void;
  err(text: string): void;
  /** Whether a line of `err` can be drawn over. */
  readonly isTerminal: boolean;
  /** Fires on SIGINT and SIGTERM. A command that asks for it ends in good order; one that does not is ended at once. */
  readonly signal: AbortSignal;
  readStdin(): Promise<Uint8Array>;
  /** From now on a reader of standard output that goes away does not end the program: there are files to be written. */
  workForFiles(): void;
}

export interface Io extends Streams {
  /** A line on a terminal, over the one before; an empty text clears it, and so does whatever else is written. */
  status(text: string): void;
}

export interface Command {
  readonly usage: string;
  readonly options: OptionSpecs;
  /** Arguments that are no options, at most; left out where the command itself looks at all of them. */
  readonly mostArguments?: number;
  /** Which of the arguments are files that are read, so that no output may be one of them; left out where all are. */
  readonly inputs?: (positionals: readonly string[]) => readonly string[];
  /** Returns the exit code: 0 ok, 1 failure, 3 some items failed, 130 interrupted (the program makes it 143 after SIGTERM). */
  run(args: Arguments, io: Io): Promise<number>;
}

export const exitInterrupted = 130;

/**
 * The streams as commands see them: a message never stands behind a status line, and control characters of file names, which a terminal
 * would obey, reach neither the terminal nor a log that is looked at on one.
 */
export function ioOver(streams: Streams): Io {
  let shown = false;
  const status = (text: string) => {
    if (!streams.isTerminal || (text === '' && !shown)) return;
    streams.err(`\r\u001b[K${inertText(text)}`);
    shown = text !== '';
  };
  return {
    status,
    out: (text) => {
      status('');
      streams.out(text);
    },
    err: (text) => {
      status('');
      streams.err(inertText(text));
    },
    isTerminal: streams.isTerminal,
    // Not before it is asked for: that changes what signals do.
    get signal() {
      return streams.signal;
    },
    readStdin: () => streams.readStdin(),
    workForFiles: () => streams.workForFiles(),
  };
}

/** A line on a terminal that says what goes on; an empty text clears it. */
export const statusLine =
  (io: Io): ((text: string) => void) =>
  (text) =>
    io.status(text === '' ? '' : `${text} …`);

/** Text as a terminal may have it: control characters, which could move its cursor or worse, are shown as U+FFFD. */
export function inertText(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is looked for.
  return text.replace(/[\0-\x08\x0b-\x1f\x7f-\x9f]/g, '\ufffd');
}
