import assert from 'node:assert/strict';
import fs, { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { InputError } from '../../src/core/errors.js';
import { makeDirectoryAtomic, resumable, type WriteCalls, writeFileAtomic } from '../../src/node/atomic.js';
import { openLineJob } from '../../src/node/bulk/line-job.js';
import { scratchDir } from '../helpers/checkpoints.js';

const scratch = scratchDir();
const chunks = [Buffer.from('new '), Buffer.from('content'), Buffer.from('!')];
const old = 'old content';
const content = 'new content!';

interface Faults {
  /** The call that fails, counted from 0. */
  readonly failAt?: number;
  /** A write takes one byte at a time. */
  readonly short?: boolean;
  /** A write takes nothing and says so. */
  readonly stuck?: boolean;
}

/** The real calls, with faults, a list of their names and the handles that are open. */
function faultyFs({ failAt = -1, short = false, stuck = false }: Faults) {
  const calls: string[] = [];
  const open = new Set<number>();
  const step = <T>(name: string, act: () => T): T => {
    calls.push(name);
    if (calls.length - 1 === failAt) throw Object.assign(new Error(`${name} failed`), { code: 'EIO' });
    return act();
  };
  const faulty: WriteCalls = {
    openSync: ((path: string, flags: string) =>
      step('open', () => {
        const handle = fs.openSync(path, flags);
        open.add(handle);
        return handle;
      })) as typeof fs.openSync,
    writeSync: ((handle: number, bytes: Uint8Array, at: number, length: number) =>
      step('write', () => (stuck ? 0 : fs.writeSync(handle, bytes, at, short ? 1 : length)))) as typeof fs.writeSync,
    fsync: fs.fsync,
    fsyncSync: (handle) => step('fsync', () => fs.fsyncSync(handle)),
    // The system closes a handle even where close reports an error.
    closeSync: (handle) => {
      fs.closeSync(handle);
      open.delete(handle);
      step('close', () => {});
    },
    renameSync: (from, to) => step('rename', () => fs.renameSync(from, to)),
    unlinkSync: (path) => step('unlink', () => fs.unlinkSync(path)),
  };
  return { faulty, calls, open };
}

let count = 0;
function target(initial: string | undefined): string {
  const dir = join(scratch, `t${count++}`);
  mkdirSync(dir);
  const path = join(dir, 'file');
  if (initial !== undefined) writeFileSync(path, initial);
  return path;
}

test('a write replaces the content and syncs the file before and the directory after the rename', () => {
  const path = target(old);
  const { faulty, calls, open } = faultyFs({});
  writeFileAtomic(path, chunks, faulty);
  assert.equal(readFileSync(path, 'utf8'), content);
  const order = ['open', 'write', 'write', 'write', 'fsync', 'close', 'rename', 'open', 'fsync', 'close'];
  assert.deepEqual(calls, order);
  assert.equal(open.size, 0);
});

for (const initial of [old, undefined]) {
  for (const short of [false, true]) {
    const state = `${initial === undefined ? 'no file' : 'an old file'}${short ? ', short writes' : ''}`;
    test(`whichever call fails, the name holds all of the old or all of the new: ${state}`, () => {
      const { faulty: whole, calls } = faultyFs({ short });
      writeFileAtomic(target(initial), chunks, whole);
      const outcomes = new Set<string | undefined>();
      for (let failAt = 0; failAt < calls.length; failAt++) {
        const path = target(initial);
        const { faulty, open } = faultyFs({ failAt, short });
        assert.throws(
          () => writeFileAtomic(path, chunks, faulty),
          (error) => {
            assert.ok(error instanceof InputError, `call ${failAt}: ${String(error)}`);
            assert.ok(error.message.startsWith(path), error.message);
            return true;
          },
        );
        const found = existsSync(path) ? readFileSync(path, 'utf8') : undefined;
        assert.equal(found, failAt > calls.indexOf('rename') ? content : initial, `call ${failAt}, ${calls[failAt]}`);
        assert.deepEqual(readdirSync(join(path, '..')), found === undefined ? [] : ['file']);
        assert.equal(open.size, 0, `call ${failAt} leaves a handle open`);
        outcomes.add(found);
      }
      assert.deepEqual(outcomes, new Set([initial, content]));
    });
  }
}

test('a disk that takes nothing ends, and so does content that throws', () => {
  const path = target(old);
  assert.throws(() => writeFileAtomic(path, chunks, faultyFs({ stuck: true }).faulty), /nothing was written/);
  function* broken() {
    yield chunks[0];
    throw new Error('no more');
  }
  assert.throws(() => writeFileAtomic(path, broken()), /could not be written: no more; what was there before is kept/);
  assert.equal(readFileSync(path, 'utf8'), old);
  assert.deepEqual(readdirSync(join(path, '..')), ['file']);
  assert.throws(() => writeFileAtomic(join(scratch, 'no', 'dir', 'file'), chunks), InputError);
});

test('where there was no room, it is said how to go on', () => {
  const failure = (code: string) => new InputError(`x: ${code}`, { cause: Object.assign(new Error(code), { code }) });
  const full = resumable(failure('ENOSPC'));
  assert.ok(full instanceof InputError);
  assert.match(full.message, /^x: ENOSPC; make room there, .* the same command again: it goes on from here$/);
  const other = failure('EACCES');
  assert.equal(resumable(other), other);
});

test('a directory appears whole or not at all, and never over another', async () => {
  const root = join(scratch, 'dirs');
  mkdirSync(root);
  const path = join(root, 'made');
  await makeDirectoryAtomic(path, async (dir) => {
    assert.ok(!existsSync(path));
    writeFileSync(join(dir, 'a'), '1');
  });
  assert.deepEqual(readdirSync(path), ['a']);
  await assert.rejects(
    makeDirectoryAtomic(path, async () => assert.fail('must not be asked to write')),
    /is a directory that is not empty; name a directory that does not exist yet/,
  );
  const failing = join(root, 'failing');
  const failure = async (dir: string) => {
    writeFileSync(join(dir, 'a'), '1');
    throw new Error('disk full');
  };
  await assert.rejects(makeDirectoryAtomic(failing, failure), (error) => {
    assert.ok(error instanceof InputError);
    assert.match(error.message, /failing: could not be written: disk full/);
    return true;
  });
  // Files within it are named as if it were there: nobody knows the name it has meanwhile.
  const within = async (dir: string) => writeFileAtomic(join(dir, 'b'), chunks, faultyFs({ stuck: true }).faulty);
  await assert.rejects(makeDirectoryAtomic(failing, within), (error: Error) => {
    assert.ok(
      error.message.startsWith(`${join(failing, 'b')}: could not be written: nothing was written`),
      error.message,
    );
    return true;
  });
  // Somebody else makes it meanwhile: theirs stays.
  const raced = join(root, 'raced');
  const race = async () => {
    mkdirSync(raced);
    writeFileSync(join(raced, 'theirs'), '1');
  };
  await assert.rejects(makeDirectoryAtomic(raced, race), InputError);
  assert.deepEqual(readdirSync(root).sort(), ['made', 'raced']);
  assert.deepEqual(readdirSync(raced), ['theirs']);
});

test('a name as long as a name may be has a file, a directory and a job of lines', async () => {
  const root = join(scratch, 'long');
  mkdirSync(root);
  const path = (letter: string) => join(root, letter.repeat(255));
  writeFileAtomic(path('f'), chunks);
  await makeDirectoryAtomic(path('d'), async (dir) => writeFileSync(join(dir, 'a'), '1'));
  const settled = { name: 'a.png', facts: null };
  const first = openLineJob(path('l'), 'job', ['a.png']);
  first.add([settled], 'a line\n');
  first.dispose();
  const second = openLineJob(path('l'), 'job', ['a.png']);
  assert.deepEqual(second.settled, [settled]);
  second.finish('');
  second.dispose();
  assert.equal(readFileSync(path('f'), 'utf8'), content);
  assert.deepEqual(readdirSync(path('d')), ['a']);
  assert.equal(readFileSync(path('l'), 'utf8'), 'a line\n');
  assert.equal(readdirSync(root).length, 4);
});
