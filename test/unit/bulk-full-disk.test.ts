import assert from 'node:assert/strict';
import fs, { readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import type { WriteCalls } from '../../src/node/atomic.js';
import { filesIn, pagesRead, picturePdf, readInto, strip, write } from '../helpers/bulk.js';
import { scratchDir } from '../helpers/checkpoints.js';

const scratch = scratchDir();
const folder = join(scratch, 'in');
write(join(folder, 'a.png'), await strip(0));
write(join(folder, 'b.pdf'), await picturePdf([await strip(1), await strip(2)]));
write(join(folder, 'c.png'), await strip(3));
const formats = ['txt', 'pdf'] as const;
const whole = join(scratch, 'whole');
await readInto(whole, [folder], { formats });
const expected = filesIn(whole);

const failure = (code: string) => Object.assign(new Error(`${code}: as a test says`), { code });

/** The real calls on a disk with room for so many writes; the one that does not fit leaves half of what it was given. */
function smallDisk(room: number): WriteCalls {
  let left = room;
  const writeSync = (handle: number, data: Uint8Array | string, from = 0, length = data.length, at?: number) => {
    const bytes = Buffer.from(data);
    if (left-- > 0) return fs.writeSync(handle, bytes, from, length, at);
    fs.writeSync(handle, bytes, from, length >> 1, at);
    throw failure('ENOSPC');
  };
  return { ...fs, writeSync: writeSync as WriteCalls['writeSync'] };
}

/** The real calls on a disk that takes what is written and then, after so many times, cannot keep it. */
function forgetfulDisk(times: number): WriteCalls {
  let left = times;
  const fsync = (handle: number, done: (cause: Error | null) => void) =>
    left-- > 0 ? fs.fsync(handle, done) : setImmediate(done, failure('ENOSPC'));
  return { ...fs, fsync: fsync as WriteCalls['fsync'] };
}

const temporary = (out: string) =>
  readdirSync(out, { recursive: true, encoding: 'utf8' }).filter((name) => /tmp|lock/.test(name));

async function readUntilItEnds(out: string, disk: (room: number) => WriteCalls): Promise<void> {
  let stops = 0;
  // Each time there is a little more room, as where somebody deletes a file and starts the command again.
  for (let room = 0; ; room++) {
    const end = await readInto(out, [folder], { formats, fs: disk(room) }).catch((error: unknown) => error);
    for (const [name, hash] of Object.entries(filesIn(out))) assert.equal(hash, expected[name], name);
    assert.deepEqual(temporary(out), []);
    if (!(end instanceof Error)) break;
    assert.ok(end instanceof InputError, String(end));
    assert.match(
      end.message,
      new RegExp(
        `${basename(out)}/.*: (could not be written|cannot be made): ENOSPC.*; make room there.* start the same command`,
      ),
    );
    stops++;
  }
  assert.ok(stops > 5, `${stops} stops`);
  assert.deepEqual(filesIn(out), expected);
  assert.deepEqual([...pagesRead(out).values()], [1, 1, 1, 1]);
}

test('a disk that fills up ends the job and says so; files are whole or not there; with room the job goes on to the same bytes', () =>
  readUntilItEnds(join(scratch, 'full'), smallDisk));

test('the same of a disk that says so only when it is to keep what was written', () =>
  readUntilItEnds(join(scratch, 'forgetful'), forgetfulDisk));

test('what cannot be written ends the job at once: no other page is read for nothing', async () => {
  const out = join(scratch, 'rename');
  const calls: WriteCalls = {
    ...fs,
    renameSync: (from, to) => {
      if (String(to).endsWith('.txt')) throw failure('EROFS');
      fs.renameSync(from, to);
    },
  };
  await assert.rejects(readInto(out, [folder], { formats, fs: calls }), {
    name: 'InputError',
    message: /a\.txt: could not be written: EROFS.*make it writable/,
  });
  assert.deepEqual(filesIn(out), {});
  assert.deepEqual(temporary(out), []);
  await readInto(out, [folder], { formats });
  assert.deepEqual(filesIn(out), expected);
});

test('a directory that is read-only is one error, before anything is read', async () => {
  const out = join(scratch, 'read-only');
  await readInto(out, [folder], { formats });
  const journal = readFileSync(join(out, '.varyclip/journal.0.jsonl'), 'utf8');
  rmSync(join(out, 'a.txt'));
  const calls: WriteCalls = {
    ...fs,
    openSync: () => {
      throw failure('EROFS');
    },
  };
  await assert.rejects(readInto(out, [folder], { formats, fs: calls }), {
    name: 'InputError',
    message: /lock\.0: cannot be made: EROFS.*; make room there, or make it writable/,
  });
  assert.equal(readFileSync(join(out, '.varyclip/journal.0.jsonl'), 'utf8'), journal);
  await readInto(out, [folder], { formats });
  assert.deepEqual(filesIn(out), expected);
});
