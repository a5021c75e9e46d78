/**
 * A file with a line for each of many inputs, made as a job: its lines are in `.NAME.part` until all are there, and `.NAME.job` says
 * which inputs are settled, batch by batch. A batch is kept or done again as a whole: a vector's last bits may depend on those beside
 * it. Whatever ends the process, the next run goes on behind the last batch and makes the same file.
 */
import nodeFs, { closeSync, ftruncateSync, openSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { InputError, messageOf } from '../../core/errors.js';
import { expectFilePlace, syncDirectory, type WriteCalls } from '../atomic.js';
import { takeLock } from '../lock.js';
import { expectKnown } from '../place.js';
import { withEnding } from '../process-identity.js';
import { wholeLines, writeWhole } from './journal.js';

/** Size and date of an input; null where it cannot be asked. The date is that of its last change of any kind, also of its rights. */
type Facts = readonly [size: number, changed: number] | null;

/** An input with which nothing is left to do: it has its line, or failed. */
export interface Settled {
  readonly name: string;
  readonly facts: Facts;
  readonly failure?: string;
}

type Line =
  | { readonly job: unknown }
  | { readonly settled: readonly Settled[]; readonly end: number }
  | { readonly whole: number };

export interface LineJob {
  /** Inputs, from the first, that need not be done again. */
  readonly settled: readonly Settled[];
  /** Why earlier work, or what follows `settled` of it, does not count. */
  readonly changed: string | undefined;
  /** The file is there with all its lines: nothing is left to do. */
  readonly whole: boolean;
  /** A batch and its lines; on the disk when this returns. */
  add(settled: readonly Settled[], lines: string): void;
  /** The lines after those of inputs. The file gets its name. */
  finish(lines: string): void;
  dispose(): void;
}

export function factsOf(name: string): Facts {
  try {
    const { size, ctimeMs } = statSync(name);
    return [size, ctimeMs];
  } catch {
    return null;
  }
}

/**
 * Begins a job or goes on with it. `job` is all that lines depend on beside `names`, the inputs in their order. Throws InputError where
 * the file cannot be written, LockedError where another process writes it.
 */
export function openLineJob(path: string, job: unknown, names: readonly string[], fs: WriteCalls = nodeFs): LineJob {
  expectFilePlace(path);
  const beside = (ending: string) => withEnding(join(dirname(path), `.${basename(path)}`), `.${ending}`);
  const unlock = takeLock(
    beside('lock'),
    (owner) => `${path}: ${owner} is writing it; wait for it, or name another file`,
    fs,
  );
  const handles: number[] = [];
  // What an earlier run left is kept whatever happens before it is looked at.
  let settledAny = true;
  const dispose = () => {
    for (const handle of handles) closeSync(handle);
    // Of a job that was refused before its first batch nothing is left behind.
    if (!settledAny) for (const ending of ['job', 'part']) rmSync(beside(ending), { force: true });
    unlock();
  };
  const writing = <T>(task: () => T): T => writingInto(path, task);
  const open = (name: string): number => {
    const { O_RDWR, O_CREAT } = nodeFs.constants;
    handles.push(openSync(name, O_RDWR | O_CREAT));
    return handles[handles.length - 1];
  };
  try {
    return writing(() => {
      const journal = open(beside('job'));
      const sizeOf = (name: string) => {
        const place = expectKnown(name);
        return 'facts' in place ? place.facts.size : undefined;
      };
      const partSize = sizeOf(beside('part'));
      const known = knownFrom(journal, job, names, partSize ?? sizeOf(path) ?? 0);
      const give = () => {
        fs.renameSync(beside('part'), path);
        syncDirectory(path, fs);
      };
      if (known.whole) {
        if (partSize !== undefined) give();
        return { ...known, add: nothing, finish: nothing, dispose };
      }
      // Where the part has become the file already, the file stays until there is another.
      const kept = partSize === undefined ? { ...known, settled: [], logged: 0, end: 0 } : known;
      const part = open(beside('part'));
      ftruncateSync(journal, kept.logged);
      ftruncateSync(part, kept.end);
      const put = (handle: number, text: string, at: number) => putText(handle, text, at, fs);
      let { logged, end } = kept;
      settledAny = kept.settled.length > 0;
      const log = (line: Line) => {
        logged = put(journal, `${JSON.stringify(line)}\n`, logged);
      };
      if (logged === 0) log({ job });
      return {
        settled: kept.settled,
        changed:
          known.changed ??
          (known.settled.length > kept.settled.length ? `${path} is gone or not the one written` : undefined),
        whole: false,
        add: (settled, lines) =>
          writing(() => {
            end = put(part, lines, end);
            log({ settled, end });
            settledAny = true;
          }),
        finish: (lines) =>
          writing(() => {
            end = put(part, lines, end);
            log({ whole: end });
            settledAny = true;
            give();
          }),
        dispose,
      };
    });
  } catch (error) {
    dispose();
    throw error;
  }
}

const nothing = () => undefined;

function writingInto<T>(path: string, task: () => T): T {
  try {
    return task();
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw new InputError(
      `${path}: could not be written: ${messageOf(cause)}; what was done before is kept: start the same command again`,
      { cause },
    );
  }
}

/** Text at a place of a file, on the disk when this returns. Returns the place behind it. */
function putText(handle: number, text: string, at: number, fs: WriteCalls): number {
  const bytes = new TextEncoder().encode(text);
  writeWhole(handle, bytes, at, fs);
  fs.fsyncSync(handle);
  return at + bytes.length;
}

interface Known {
  readonly settled: readonly Settled[];
  readonly changed: string | undefined;
  readonly whole: boolean;
  /** So much of the journal, and of the lines, counts. */
  readonly logged: number;
  readonly end: number;
}

/** What a journal says that still holds, with so many bytes of lines there. A line that is not whole was being written. */
function knownFrom(journal: number, job: unknown, names: readonly string[], size: number): Known {
  const settled: Settled[] = [];
  let [logged, end, whole] = [0, 0, false];
  const known = (changed?: string): Known => ({ settled, changed, whole, logged, end });
  for (const { bytes, offset } of wholeLines(journal)) {
    const text = new TextDecoder().decode(bytes);
    if (offset === 0) {
      if (text !== JSON.stringify({ job })) return known('the model, its precision or the settings are others');
    } else {
      const line = JSON.parse(text) as Line;
      if ('whole' in line) {
        whole = settled.length === names.length && size === line.whole;
        return known(whole ? undefined : 'there are other inputs, or the file was changed');
      }
      if (!('settled' in line)) return known('the job file is damaged');
      const other = line.settled.find((each, i) => !isAsBefore(each, names[settled.length + i]));
      if (other) return known(`${other.name} was changed, or is not the next input any more`);
      if (line.end > size) return known('lines are missing');
      settled.push(...line.settled);
      end = line.end;
    }
    logged = offset + bytes.length + 1;
  }
  return known();
}

/** Standard input is never what it was. */
const isAsBefore = ({ name, facts }: Settled, now: string | undefined): boolean =>
  name === now && name !== '-' && JSON.stringify(facts) === JSON.stringify(factsOf(name));
