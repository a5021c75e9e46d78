import assert from 'node:assert/strict';
import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, utimesSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { deflateSync } from 'node:zlib';
import sharp from 'sharp';
import { expandPattern } from '../../src/node/bulk/glob.js';
import { expectOutside, findInputs } from '../../src/node/bulk/inputs.js';
import type { JobReport } from '../../src/node/bulk/job-options.js';
import type { NodeVaryModel } from '../../src/node/load-model.js';
import {
  documentInfo,
  emptyPdf,
  filesIn,
  pagesRead,
  pdfOf,
  picturePdf,
  readInto,
  scriptedModel,
  strip,
  tiffOf,
  write,
} from '../helpers/bulk.js';
import { scratchDir } from '../helpers/checkpoints.js';
import { longName, makeLinkLoop, makePipe, makeUnreadableFolder } from '../helpers/places.js';
import { makeTar } from '../helpers/tar.js';
import { warningsDuring } from '../helpers/warnings.js';

const scratch = scratchDir();

test('pictures, a TIFF of three pages, a PDF and an archive: every page in order, names without collisions', async () => {
  const folder = join(scratch, 'all');
  const [a, b, c] = await Promise.all([strip(0), strip(1), strip(2)]);
  write(join(folder, 'a.png'), a);
  write(join(folder, 'a.jpg'), await sharp(a).jpeg({ quality: 100 }).toBuffer());
  write(join(folder, 'deep/er/b.png'), b);
  write(join(folder, 'three.tif'), await tiffOf([a, b, c]));
  write(join(folder, 'two.pdf'), await picturePdf([a, b]));
  write(
    join(folder, 'set.tar'),
    makeTar([
      { name: 'x/c.png', content: c },
      { name: 'x/c.txt', content: Buffer.from('no picture') },
    ]),
  );
  const out = join(scratch, 'all-out');
  const report = await readInto(out, [folder], { formats: ['txt', 'json'], dpi: 150 });
  assert.deepEqual(report.failures, []);
  assert.equal(report.pages, 9);
  assert.equal(report.finished, 6);
  const names = ['a.jpg', 'a.png', 'deep/er/b', 'set/x/c', 'three', 'two'];
  assert.deepEqual(Object.keys(filesIn(out)), names.flatMap((name) => [`${name}.json`, `${name}.txt`]).sort());
  const text = (name: string) => readFileSync(join(out, `${name}.txt`), 'utf8');
  // Lossless pages read alike wherever they are from.
  assert.equal(text('three'), [text('a.png'), text('deep/er/b'), text('set/x/c')].join('\f'));
  assert.equal(text('two').split('\f').length, 2);
  assert.ok(text('a.png').split('\n').length > 2);
});

test('run again, nothing is read; a changed file is, a touched one is not, a new format needs no reading', async () => {
  const folder = join(scratch, 'again');
  for (let i = 0; i < 3; i++) write(join(folder, `${i}.png`), await strip(i));
  const out = join(scratch, 'again-out');
  assert.equal((await readInto(out, [folder])).pages, 3);
  const first = filesIn(out);
  const idle = await readInto(out, [folder]);
  assert.deepEqual([idle.pages, idle.unchanged, idle.finished], [0, 3, 0]);
  utimesSync(join(folder, '0.png'), new Date(), new Date());
  write(join(folder, '1.png'), await strip(9));
  const changed = await readInto(out, [folder]);
  assert.deepEqual([changed.pages, changed.unchanged, changed.finished], [1, 2, 1]);
  const second = filesIn(out);
  assert.notEqual(second['1.txt'], first['1.txt']);
  assert.equal(second['0.txt'], first['0.txt']);
  rmSync(join(out, '2.txt'));
  const formats = await readInto(out, [folder], { formats: ['txt', 'hocr'] });
  assert.deepEqual([formats.pages, formats.finished], [0, 3]);
  assert.equal(filesIn(out)['2.txt'], first['2.txt']);
  // A file that takes another's stem changes that one's name.
  write(
    join(folder, '2.jpg'),
    await sharp(await strip(2))
      .jpeg()
      .toBuffer(),
  );
  assert.equal((await readInto(out, [folder])).pages, 1);
  assert.deepEqual(
    Object.keys(filesIn(out)).filter((name) => name.startsWith('2')),
    ['2.jpg.txt', '2.png.txt'],
  );
});

test('other settings or another model do not go on with a job; two processes do not share one', async () => {
  const folder = join(scratch, 'same');
  write(join(folder, '0.png'), await strip(0));
  const out = join(scratch, 'same-out');
  await readInto(out, [folder]);
  await assert.rejects(
    readInto(out, [folder], { dpi: 100 }),
    /was read otherwise: settings .*"dpi":200.*now .*"dpi":100/,
  );
  const reader = { ...documentInfo.reader, weights: 'cc' };
  await assert.rejects(readInto(out, [folder], { reader }), /was read otherwise: reader/);
  write(join(out, '.varyclip/lock.0'), `${process.ppid} `);
  await assert.rejects(readInto(out, [folder]), /process \d+ is reading into it/);
});

test('attempts that were made anew are counted in journal, files and report', async () => {
  const folder = join(scratch, 'retried');
  write(join(folder, '0.png'), await strip(0));
  const model = scriptedModel({
    retried: (retries = 2) =>
      retries === 0
        ? []
        : [
            { line: 0, problem: 'empty', attempts: 1 + retries, kept: 2 },
            { line: 1, problem: 'uncertain', attempts: 2, kept: 2 },
          ],
  });
  const out = join(scratch, 'retried-out');
  const report = await readInto(out, [folder], { model, formats: ['json'] });
  assert.equal(report.retried, 1);
  const pages = () =>
    (JSON.parse(readFileSync(join(out, '0.json'), 'utf8')) as { pages: { retries?: number }[] }).pages;
  assert.deepEqual(
    pages().map(({ retries }) => retries),
    [3],
  );
  // From the journal.
  rmSync(join(out, '0.json'));
  await readInto(out, [folder], { model, formats: ['json'] });
  assert.equal(pages()[0].retries, 3);
  await assert.rejects(readInto(out, [folder], { model, read: { retries: 0 } }), /was read otherwise: settings/);
  const off = join(scratch, 'retried-off');
  assert.equal((await readInto(off, [folder], { model, read: { retries: 0 } })).retried, 0);
});

test('a damaged record of a job says what to do', async () => {
  const [source, out] = [write(join(scratch, 'record.png'), await strip(0)), join(scratch, 'record-out')];
  await readInto(out, [source]);
  write(join(out, '.varyclip/job.json'), '{');
  await assert.rejects(readInto(out, [source]), {
    name: 'InputError',
    message:
      /job\.json: is not JSON: .* remove .*\.varyclip and read all of it anew with --overwrite, or name another output directory$/,
  });
  rmSync(join(out, '.varyclip'), { recursive: true });
  assert.equal((await readInto(out, [source], { overwrite: true })).finished, 1);
});

test('what cannot be read is named, the rest is read', async () => {
  const folder = join(scratch, 'bad');
  const good = await strip(3);
  write(join(folder, 'good.png'), good);
  write(join(folder, 'cut.png'), good.subarray(0, 2000));
  write(join(folder, 'text.pdf'), 'not a PDF at all');
  write(join(folder, 'many.pdf'), emptyPdf(40));
  write(join(folder, 'none.pdf'), emptyPdf(0));
  write(join(folder, 'page.tif'), withoutSecondPage(await tiffOf([good, good])));
  write(join(folder, 'huge.pdf'), emptyPdf(2, 300_000, 300_000));
  write(join(folder, 'encrypted.pdf'), encryptedPdf());
  const pdf = await picturePdf([good, good]);
  write(join(folder, 'half.pdf'), pdf.subarray(0, pdf.length / 2));
  symlinkSync('nowhere.png', join(folder, 'link.png'));
  const archive = makeTar([
    { name: '../out.png', content: good },
    { name: 'in.png', content: good },
    { name: 'l.png', content: Buffer.alloc(0), type: '2' },
  ]);
  write(join(folder, 'set.tar'), archive.subarray(0, archive.length));
  const out = join(scratch, 'bad-out');
  const problems: string[] = [];
  const report = await readInto(out, [folder, join(scratch, 'none'), join(scratch, '*.nothing')], {
    maxPages: 30,
    retries: 0,
    onProblem: (message) => problems.push(message),
  });
  const expectProblem = (pattern: RegExp) =>
    assert.ok(
      problems.some((each) => pattern.test(each)),
      `${pattern} in\n${problems.join('\n')}`,
    );
  expectProblem(/cut.png: cannot be decoded/);
  expectProblem(/text.pdf: expected png, jpeg/);
  expectProblem(/many.pdf: has 40 pages, at most 30/);
  expectProblem(/none.pdf: has no pages$/);
  expectProblem(/page.tif: page 2 cannot be decoded: /);
  expectProblem(/huge.pdf: page 1: has 833333×833333 pixels at 200 dpi, at most 64000000/);
  expectProblem(/huge.pdf: page 2: /);
  expectProblem(/encrypted.pdf: is encrypted and needs a password/);
  expectProblem(/half.pdf: /);
  expectProblem(/link.png: /);
  expectProblem(/set.tar!..\/out.png: its name leads out of the archive/);
  expectProblem(/set.tar!l.png: is a link/);
  expectProblem(/none: there is no such file/);
  expectProblem(/\*.nothing: matches no file/);
  assert.equal(report.failedPages, 4);
  assert.equal(report.pages, 3);
  const files = Object.keys(filesIn(out));
  assert.ok(files.includes('good.txt') && files.includes('set/in.txt'), files.join());
  assert.equal(filesIn(out)['good.txt'], filesIn(out)['set/in.txt']);
  // A file that is put right is read the next time.
  write(join(folder, 'cut.png'), good);
  await readInto(out, [folder], { maxPages: 30, retries: 0 });
  assert.equal(filesIn(out)['cut.txt'], filesIn(out)['good.txt']);
});

test('an archive that is cut off in a header, or empty, is named; one without the zeros at its end is whole', async () => {
  const folder = join(scratch, 'tars');
  const good = await strip(5);
  const archive = makeTar([
    { name: 'a.png', content: good },
    { name: 'b.png', content: good },
  ]);
  const whole = archive.length - 1024;
  const second = whole / 2;
  for (const [name, end] of [
    ['empty', 0],
    ['short', 300],
    ['in-header', second + 200],
    ['before-header', second],
    ['no-end', whole],
    ['part-of-end', whole + 700],
    ['no-padding', whole - ((512 - (good.length % 512)) % 512)],
  ] as const) {
    write(join(folder, `${name}.tar`), archive.subarray(0, end));
  }
  write(join(folder, 'zeros.tar'), new Uint8Array(300));
  const { documents, problems } = findInputs([folder]);
  assert.deepEqual(
    problems.map(({ reason }) => reason.replace(`${folder}/`, '')),
    [
      'empty.tar: expected an archive, got an empty file',
      `in-header.tar: at byte ${second}: ends inside a header: the archive is cut off`,
      'short.tar: at byte 0: ends inside a header: the archive is cut off',
      'zeros.tar: at byte 0: ends inside a header: the archive is cut off',
    ],
  );
  const names = (of: string, ...members: string[]) => members.map((member) => `${of}/${member}`);
  assert.deepEqual(
    documents.map(({ name }) => name),
    [
      ...names('before-header', 'a'),
      ...names('in-header', 'a'),
      ...names('no-end', 'a', 'b'),
      ...names('no-padding', 'a', 'b'),
      ...names('part-of-end', 'a', 'b'),
    ],
  );
});

test('names of members that mean one path are one document; a file called as a member’s key is another', async () => {
  const folder = join(scratch, 'same-names');
  const names = ['a/b.png', 'a//b.png', './a/./b.png', './c.png', 'c.png', 'd.png'];
  const archive = write(join(folder, 'set.tar'), makeTar(names.map((name) => ({ name, content: name }))));
  const file = write(join(folder, 'set.tar!d.png'), 'd');
  const { documents, problems } = findInputs([folder]);
  assert.deepEqual(
    problems.map(({ reason }) => reason),
    ['a//b.png', './a/./b.png', 'c.png'].map(
      (name) => `${archive}!${name}: is in the archive twice; the first one is read`,
    ),
  );
  // Those of members are as they were in journals of earlier versions.
  assert.deepEqual(
    documents.map(({ key, name }) => [key, name]),
    [
      [`${archive}!a/b.png`, 'set/a/b'],
      [`${archive}!c.png`, 'set/c'],
      [`${archive}!d.png`, 'set/d'],
      [`file:${file}`, 'set.tar!d'],
    ],
  );
});

test('a pattern with many ** in a row walks its folders once', () => {
  const folder = join(scratch, 'stars');
  const deep = Array.from({ length: 20 }, (_, i) => `d${i}`).join('/');
  const file = write(join(folder, deep, 'a.png'), 'a');
  assert.deepEqual(expandPattern(`${folder}${'/**'.repeat(12)}/*.png`), [file]);
});

test('what is no file, and what cannot be asked, fails by itself: nobody waits for a pipe', async () => {
  const folder = join(scratch, 'places');
  const good = write(join(folder, 'good.png'), await strip(4));
  for (const name of ['p.png', 'p.pdf', 'p.tar']) makePipe(join(folder, name));
  makeLinkLoop(join(folder, 'loop.png'));
  makeUnreadableFolder(folder);
  const named = [`${good}/`, join(folder, 'loop.png'), join(folder, longName), 'a\0b', `${longName}/*.png`];
  const problems: string[] = [];
  const options = { retries: 0, onProblem: (message: string) => problems.push(message) };
  const report = await readInto(join(scratch, 'places-out'), [folder, ...named], options);
  assert.equal(report.pages, 1);
  assert.deepEqual(problems.map((each) => each.replaceAll(`${folder}/`, '').replaceAll(longName, 'LONG')).sort(), [
    'LONG/*.png: cannot be looked for: its name is too long for the file system',
    'LONG: cannot be looked at: its name is too long for the file system',
    'a\0b: cannot be looked at: its name has a zero byte in it',
    'bad\ufffd: cannot be read: there is no such file; its name is not UTF-8, so it cannot be opened: rename it',
    'good.png/: cannot be looked at: good.png is no directory',
    'loop.png: cannot be looked at: its links lead in a circle',
    'loop.png: cannot be read: its links lead in a circle',
    'p.pdf: expected a file, got a pipe',
    'p.png: expected a file, got a pipe',
    'p.tar: expected a file, got a pipe',
  ]);
});

test('a PDF that needs too much memory is named with the reason, the rest is read', async () => {
  const folder = join(scratch, 'bomb');
  write(join(folder, 'a-bomb.pdf'), bombPdf());
  write(join(folder, 'b.pdf'), await picturePdf([await strip(3)]));
  const out = join(scratch, 'bomb-out');
  const { pages, failures } = await readInto(out, [folder], { retries: 0 });
  assert.equal(pages, 1);
  assert.equal(failures.length, 1);
  assert.match(failures[0].reason, /a-bomb.pdf: could not be worked on: needs more than 384 MiB of memory/);
  assert.deepEqual(Object.keys(filesIn(out)), ['b.txt']);
});

/** A page whose contents are small in the file and 100 million bytes of path commands when they are unpacked. */
function bombPdf(): Buffer {
  const contents = deflateSync(Buffer.alloc(1e8, '0 0 m 1 1 l S q '));
  const objects = [
    '<</Type/Catalog/Pages 2 0 R>>',
    '<</Type/Pages/Kids[3 0 R]/Count 1>>',
    '<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R>>',
    `<</Filter/FlateDecode/Length ${contents.length}>>\nstream\n${contents.toString('latin1')}\nendstream`,
  ];
  return pdfOf(objects);
}

/** A TIFF with a page for each of pictures of one size. */
/** Its pixels are where the file has ended. */
function withoutSecondPage(tiff: Buffer): Buffer {
  const firstAt = tiff.readUInt32LE(4);
  const secondAt = tiff.readUInt32LE(firstAt + 2 + 12 * tiff.readUInt16LE(firstAt));
  for (let at = secondAt + 2; at < secondAt + 2 + 12 * tiff.readUInt16LE(secondAt); at += 12) {
    if (tiff.readUInt16LE(at) === 273) tiff.writeUInt32LE(0x7ffffff0, at + 8);
  }
  return tiff;
}

/** Encrypted by a handler that no empty password opens: the check values are not those of any. */
function encryptedPdf(): Buffer {
  const zeros = '00'.repeat(32);
  const text = emptyPdf(1).toString('latin1');
  return Buffer.from(
    text.replace(
      /\/Root/,
      `/Encrypt << /Filter /Standard /V 1 /R 2 /P -1 /O <${zeros}> /U <${zeros}> >> /ID [<${zeros}> <${zeros}>] /Root`,
    ),
    'latin1',
  );
}

test('a searchable PDF has the text of the page, and is read again as a picture unless its text layer is asked for', async () => {
  const source = write(join(scratch, 'scan/scan.pdf'), await picturePdf([await strip(2, 300), await strip(9, 300)]));
  const out = join(scratch, 'scan-out');
  await readInto(out, [source], { formats: ['pdf', 'txt'], dpi: 150 });
  const made = write(join(scratch, 'made/made.pdf'), readFileSync(join(out, 'scan.pdf')));
  const lines = (path: string) => readFileSync(path, 'utf8').split(/\n+/);
  const layer = join(scratch, 'layer-out');
  await readInto(layer, [made], { formats: ['txt', 'json'], textLayer: true, dpi: 150 });
  assert.deepEqual(lines(join(layer, 'made.txt')), lines(join(out, 'scan.txt')));
  assert.equal(JSON.parse(readFileSync(join(layer, 'made.json'), 'utf8')).pages[0].origin, 'text-layer');
  const again = join(scratch, 'scan-again');
  await readInto(again, [made], { formats: ['json'], dpi: 150 });
  assert.equal(JSON.parse(readFileSync(join(again, 'made.json'), 'utf8')).pages[0].origin, undefined);
});

test('too many failures end a job', async () => {
  const folder = join(scratch, 'failing');
  write(join(folder, 'huge.pdf'), emptyPdf(30, 300_000, 300_000));
  await assert.rejects(
    readInto(join(scratch, 'failing-out'), [folder], { retries: 0, maxErrorRate: 0.5 }),
    /20 of 20 pages failed, more than/,
  );
});

test('an output directory that cannot be written is one error; a file in the way is that document’s', async () => {
  const folder = join(scratch, 'ways');
  write(join(folder, '0.png'), await strip(0));
  write(join(folder, '1.png'), await strip(1));
  const file = write(join(scratch, 'a-file'), '');
  await assert.rejects(readInto(join(file, 'out'), [folder]), /cannot be written to/);
  const out = join(scratch, 'ways-out');
  mkdirSync(join(out, '0.txt'), { recursive: true });
  const { failures, finished } = await readInto(out, [folder]);
  assert.equal(finished, 1);
  assert.match(failures[0].reason, /0.txt: could not be written/);
  const inJob = (await readInto(out, [folder])).job;
  assert.deepEqual([inJob.finished, inJob.failedDocuments, inJob.failures[0].reason], [1, 1, failures[0].reason]);
  rmSync(join(out, '0.txt'), { recursive: true });
  const again = await readInto(out, [folder]);
  assert.deepEqual([again.pages, again.finished, again.job.finished, again.job.failures], [0, 1, 2, []]);
  assert.ok(statSync(join(out, '0.txt')).isFile());
});

test('no output takes the place of an input, by whatever name or link; nothing is begun then', async () => {
  const folder = join(scratch, 'over');
  const pdf = await picturePdf([await strip(0)]);
  const input = write(join(folder, 'scan.pdf'), pdf);
  const linked = join(scratch, 'over-link');
  symlinkSync(folder, linked);
  for (const out of [folder, linked]) {
    await assert.rejects(readInto(out, [input], { formats: ['txt', 'pdf'] }), {
      name: 'InputError',
      message: /scan\.pdf is the input .*over\/scan\.pdf, which would be lost; name another directory or other formats/,
    });
    assert.deepEqual(readdirSync(folder), ['scan.pdf']);
  }
  // Also where both are names of one file, and where the journal knows the name; a list that is read is an input too.
  const other = join(scratch, 'over-out');
  const page = write(join(scratch, 'over-page/scan.png'), await strip(0));
  await readInto(other, [page], { formats: ['pdf'] });
  const made = readFileSync(join(other, 'scan.pdf'));
  linkSync(join(other, 'scan.pdf'), join(scratch, 'over-page/hard.pdf'));
  symlinkSync(join(other, 'scan.pdf'), join(scratch, 'over-page/soft.pdf'));
  for (const name of ['hard.pdf', 'soft.pdf']) {
    const paths = [page, join(scratch, 'over-page', name)];
    await assert.rejects(readInto(other, paths, { formats: ['pdf'], overwrite: true }), /is the input .*, which would/);
  }
  const alsoRead = [write(join(other, 'scan.txt'), page)];
  await assert.rejects(readInto(other, [page], { alsoRead, overwrite: true }), /scan\.txt is the input/);
  assert.deepEqual(readFileSync(join(other, 'scan.pdf')), made);
  // What was an output, and is called otherwise now, is not removed where it is read.
  const both = await readInto(other, [page, join(other, 'scan.pdf')], { formats: ['txt'] });
  assert.deepEqual([both.failures, both.finished], [[], 2]);
  assert.deepEqual(Object.keys(filesIn(other)), ['scan.pdf', 'scan.pdf.txt', 'scan.png.txt', 'scan.txt']);
  assert.deepEqual(readFileSync(join(other, 'scan.pdf')), made);
});

test('an output directory in an input is refused, also where a link leads there', () => {
  const folder = join(scratch, 'outside');
  mkdirSync(folder);
  const link = join(scratch, 'outside-link');
  symlinkSync(folder, link);
  for (const out of [join(folder, 'out'), link, join(link, 'not/there')]) {
    assert.throws(() => expectOutside(out, [folder]), /lies in .*outside, so what is written would be read/);
    assert.throws(() => expectOutside(out, ['/']), /lies in/);
  }
  expectOutside(`${folder}-2`, [folder, link]);
  expectOutside(join(scratch, '..outside'), [folder]);
});

test('a file that the job did not write stays, and its document fails, unless it may be replaced', async () => {
  const folder = join(scratch, 'foreign');
  for (const i of [0, 1]) write(join(folder, `${i}.png`), await strip(i));
  const out = join(scratch, 'foreign-out');
  const foreign = write(join(out, '0.txt'), 'by hand');
  const first = await readInto(out, [folder]);
  assert.deepEqual([first.finished, first.pages, first.failures.length], [1, 1, 1]);
  assert.match(first.failures[0].reason, /0\.txt: is there, and this job did not write it; .*--overwrite/);
  assert.equal(readFileSync(foreign, 'utf8'), 'by hand');
  // Another format has no such name; but a format that is asked for later may.
  assert.equal((await readInto(out, [folder], { formats: ['json'] })).finished, 2);
  assert.equal((await readInto(out, [folder])).failures.length, 1);
  const replaced = await readInto(out, [folder], { overwrite: true });
  assert.deepEqual([replaced.finished, replaced.unchanged, replaced.job.failures], [1, 1, []]);
  assert.notEqual(readFileSync(foreign, 'utf8'), 'by hand');
  // From now on it is the job's.
  write(join(folder, '0.png'), await strip(7));
  assert.deepEqual((await readInto(out, [folder])).failures, []);
  // One that comes while the page is read stays too.
  write(join(folder, '2.png'), await strip(2));
  const model = scriptedModel({ onBatch: async () => void write(join(out, '2.txt'), 'by hand') });
  const late = await readInto(out, [folder], { model });
  assert.match(late.failures[0].reason, /2\.txt: is there, and this job did not/);
  assert.equal(readFileSync(join(out, '2.txt'), 'utf8'), 'by hand');
});

test('a file whose process ended before its journal said so is the job’s own', async () => {
  const folder = join(scratch, 'claimed');
  write(join(folder, '0.png'), await strip(0));
  const out = join(scratch, 'claimed-out');
  await readInto(out, [folder]);
  const expected = filesIn(out);
  const journal = join(out, '.varyclip/journal.0.jsonl');
  const lines = readFileSync(journal, 'utf8').split('\n');
  const claim = lines.findIndex((line) => line.startsWith('{"claim"'));
  write(journal, `${lines.slice(0, claim + 1).join('\n')}\n${lines[claim + 1].slice(0, 20)}`);
  const again = await readInto(out, [folder]);
  assert.deepEqual([again.pages, again.finished, again.failures], [0, 1, []]);
  assert.deepEqual(filesIn(out), expected);
  // The line of a finished document says so too: journals from before have no other.
  write(journal, lines.filter((_, i) => i !== claim).join('\n'));
  assert.equal((await readInto(out, [folder])).unchanged, 1);
  write(journal, `${lines.slice(0, claim).join('\n')}\n`);
  assert.match((await readInto(out, [folder])).failures[0].reason, /0\.txt: is there/);
});

test('inputs that are called as the job’s own files do not take their places', async () => {
  const folder = join(scratch, 'reserved');
  const names = ['job', 'report', 'lock', 'journal.0'];
  for (const [i, name] of names.entries()) write(join(folder, `.varyclip/${name}.png`), await strip(i));
  write(join(folder, '.VaryClip.tar'), makeTar([{ name: 'scan.png', content: await strip(5) }]));
  write(join(folder, '.varyclip.png'), await strip(6));
  const out = join(scratch, 'reserved-out');
  const first = await readInto(out, [folder], { formats: ['json'] });
  assert.deepEqual([first.finished, first.failures], [6, []]);
  const own = readdirSync(join(out, '.varyclip')).sort();
  assert.deepEqual(own, ['job.json', 'journal.0.jsonl', 'report.json']);
  assert.deepEqual(
    readdirSync(join(out, '.varyclip-2')),
    [...names].sort().map((name) => `${name}.json`),
  );
  assert.equal((await readInto(out, [folder], { formats: ['json'] })).unchanged, 6);
  // Nor where a link leads there.
  symlinkSync('.varyclip', join(out, 'link'));
  write(join(folder, 'link/job.png'), await strip(7));
  const linked = await readInto(out, [folder], { formats: ['json'], overwrite: true });
  assert.match(linked.failures[0].reason, /link\/job\.json: lies among the job's own files/);
});

test('two ranks share the documents; what a rank that died had is taken up by another number of ranks', async () => {
  const folder = join(scratch, 'ranks');
  for (let i = 0; i < 6; i++) write(join(folder, `${i}.png`), await strip(i));
  const alone = join(scratch, 'alone');
  await readInto(alone, [folder]);
  const out = join(scratch, 'ranks-out');
  const rank = (n: number, size: number, more = {}) =>
    readInto(out, [folder], { shard: { rank: n, size, from: 'test' }, ...more });
  const dying = scriptedModel({ onBatch: () => Promise.reject(new Error('died')) });
  const [first] = await Promise.all([rank(0, 2), assert.rejects(rank(1, 2, { model: dying }), /died/)]);
  assert.deepEqual([first.documents, first.pages], [3, 3]);
  const rest = await rank(0, 1);
  assert.deepEqual([rest.documents, rest.pages, rest.unchanged], [6, 3, 3]);
  assert.deepEqual(filesIn(out), filesIn(alone));
  assert.deepEqual([...pagesRead(out).values()], [1, 1, 1, 1, 1, 1]);
});

test('one report of the whole job, whoever is the last; failures by name and reason, rates by process', async () => {
  const folder = join(scratch, 'report');
  for (let i = 0; i < 5; i++) write(join(folder, `${i}.png`), await strip(i));
  write(join(folder, 'broken.png'), (await strip(5)).subarray(0, 500));
  const out = join(scratch, 'report-out');
  const paths = [folder, join(scratch, 'gone.png')];
  const rank = (n: number) => readInto(out, paths, { shard: { rank: n, size: 2, from: 'test' } });
  const stored = () => JSON.parse(readFileSync(join(out, '.varyclip/report.json'), 'utf8')) as JobReport;
  const first = await rank(1);
  assert.deepEqual([first.job.left, first.job.finished, first.job.pages], [3, 2, 2]);
  const { job, pages, failures } = await rank(0);
  assert.deepEqual(stored(), job);
  assert.deepEqual([pages, failures.length], [3, 1]);
  assert.deepEqual(
    [job.documents, job.finished, job.left, job.pages, job.failedPages, job.failedDocuments],
    [6, 5, 0, 5, 1, 1],
  );
  assert.deepEqual(
    job.ranks.map((own) => [own.rank, own.pages]),
    [
      [0, 3],
      [1, 2],
    ],
  );
  assert.deepEqual(
    job.failures.map(({ source, page }) => [basename(source), page]),
    [
      ['gone.png', undefined],
      ['broken.png', 1],
    ],
  );
  // Runs after each other: their times add up.
  const [a, b] = job.ranks;
  assert.ok(Math.abs(job.seconds - a.seconds - b.seconds) < 1e-6 && a.pagesPerSecond > 0);
  // A run that has nothing to read reports the same job.
  write(join(folder, 'broken.png'), await strip(5));
  const { job: mended } = await readInto(out, [folder]);
  assert.deepEqual([mended.finished, mended.pages, mended.failures.length], [6, 6, 0]);
  const again = await readInto(out, [folder]);
  assert.equal(again.pages, 0);
  assert.deepEqual(again.job, mended);
});

test('many pages at once listen to one signal without a warning, and hear it', async () => {
  const folder = join(scratch, 'listeners');
  for (let i = 0; i < 30; i++) write(join(folder, `${i}.png`), await strip(i));
  const [controller, scripted] = [new AbortController(), scriptedModel()];
  const heard = new Set<unknown>();
  const model: NodeVaryModel = {
    ...scripted,
    readPrepared: async (image, options) => {
      // As the engine and its sessions do for every page that they have; here all of them have to be seen at once.
      options?.signal?.addEventListener('abort', () => heard.add(image));
      return scripted.readPrepared(image, options);
    },
  };
  const options = { model, signal: controller.signal };
  const read = () => readInto(join(scratch, 'listeners-out'), [folder], options);
  const { result, warnings } = await warningsDuring(read);
  assert.deepEqual([result.pages, warnings], [30, []]);
  controller.abort();
  assert.equal(heard.size, 30);
});
