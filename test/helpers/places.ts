/** Paths that no file is at. */
import { execFileSync } from 'node:child_process';
import { constants, mkdirSync, openSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

/** A pipe. It is held open, so that a test of who opens it all the same fails and does not wait for ever. */
export function makePipe(path: string): string {
  execFileSync('mkfifo', [path]);
  openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  return path;
}

export function makeLinkLoop(path: string): string {
  symlinkSync(path, path);
  return path;
}

/** A folder whose name is no UTF-8. Returns its path as Node shows it, by which it cannot be opened. */
export function makeUnreadableFolder(parent: string): string {
  mkdirSync(Buffer.concat([Buffer.from(join(parent, 'bad')), Buffer.from([0xff])]));
  return join(parent, 'bad\ufffd');
}

/** Longer than any file system's names are. */
export const longName = 'n'.repeat(300);
