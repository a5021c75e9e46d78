import type { Arguments, OptionSpecs } from './arguments.js';

/** Where a command's output goes: results to `out`, everything else to `err`. */
export interface Io {
  out(text: string): void;
  err(text: string): void;
  readonly isTerminal: boolean;
  /** Fires on SIGINT and SIGTERM. A command that asks for it ends in good order; one that does not is ended at once. */
  readonly signal: AbortSignal;
  readStdin(): Promise<Uint8Array>;
  /** From now on a reader of standard output that goes away does not end the program: there are files to be written. */
  workForFiles(): void;
}

export interface Command {
  readonly summary: string;
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

/** A line on a terminal that says what goes on; an empty text clears it. */
export function statusLine(io: Io): (text: string) => void {
  let shown = false;
  return (text) => {
    if (!io.isTerminal || (text === '' && !shown)) return;
    io.err(`\r\u001b[K${text === '' ? '' : `${text} …`}`);
    shown = text !== '';
  };
}

/** Text as a terminal may have it: control characters, which could move its cursor or worse, are shown as U+FFFD. */
export function inertText(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is looked for.
  return text.replace(/[\0-\x08\x0b-\x1f\x7f-\x9f]/g, '\ufffd');
}
