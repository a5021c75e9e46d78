/** Which process something belongs to, on file systems that several machines share. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';

export interface ProcessIdentity {
  readonly pid: number;
  /** The machine's name, as file names may have it. */
  readonly host: string;
  /** When the process and its machine began, where that is known: another process may have the same number later. */
  readonly start?: string;
}

/** This machine's name with nothing in it that a file name or a line of words could not have. */
const thisHost = hostname()
  .replace(/[^\w-]/g, '_')
  .slice(0, 64);

let own: ProcessIdentity | undefined;

export function ownIdentity(): ProcessIdentity {
  if (!own) {
    const start = startOf(process.pid);
    own = { pid: process.pid, host: thisHost, ...(start !== undefined && { start }) };
  }
  return own;
}

export const isOfThisMachine = ({ host }: ProcessIdentity): boolean => host === '' || host === thisHost;

/** Whether a process of this machine still runs. One with the number of another, as a container that is started again has, does not. */
export function isAlive({ pid, start }: ProcessIdentity): boolean {
  return isRunning(pid) && (start === undefined || start === startOf(pid));
}

/** A name beside `path` that no other process gives, on this machine or another one. */
export function temporaryName(path: string): string {
  const { pid, host, start = '0' } = ownIdentity();
  return withEnding(path, `.${host}.${pid}.${start}.tmp`);
}

/** Bytes that file systems allow a name. */
const longestName = 255;

/** A path with an ending behind it. Where a long name leaves no room for that, a hash stands for what is cut. */
export function withEnding(path: string, ending: string): string {
  const name = Buffer.from(basename(path));
  const room = longestName - Buffer.byteLength(ending);
  if (name.length <= room) return `${path}${ending}`;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 16);
  // As a stream, so that a character that is cut in two is left out.
  const kept = new TextDecoder().decode(name.subarray(0, room - hash.length - 1), { stream: true });
  return join(dirname(path), `${kept}~${hash}${ending}`);
}

/** Whose temporary file or directory this is; undefined for any other name. */
export function ownerOfTemporary(name: string): ProcessIdentity | undefined {
  const found = /\.([\w-]+)\.(\d+)\.([\w-]+)\.tmp$/.exec(name);
  if (!found) return undefined;
  const [, host, pid, start] = found;
  return { pid: Number(pid), host, ...(start !== '0' && { start }) };
}

/** Ticks from the machine's start to the process's, and which start of the machine; undefined where nobody says so. */
function startOf(pid: number): string | undefined {
  try {
    // The name of the program stands in parentheses and may have spaces.
    const ticks = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[19];
    return `${ticks}-${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8)}`;
  } catch {
    return undefined;
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
