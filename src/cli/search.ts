import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InputError, messageOf } from '../core/errors.js';
import { writeTextAtomic } from '../node/atomic.js';
import { directoryExists } from '../node/files.js';
import { liesIn } from '../node/output-place.js';
import { isPictureName } from '../node/search/find-pictures.js';
import { readManifest } from '../node/search/manifest.js';
import { modelOfIndex, openIndex, type PictureIndex, type SearchHit } from '../node/search/picture-index.js';
import { thumbnailUri } from '../node/thumbnail.js';
import { contactSheetHtml, type SheetPicture, type SheetSection } from '../output/contact-sheet.js';
import type { Arguments } from './arguments.js';
import { clipOptions, openClipModel } from './clip-options.js';
import { type Command, type Io, statusLine } from './command.js';
import { apiKeyOf, storeOptions } from './store-options.js';

export const searchCommand: Command = {
  usage: 'varyclip search INDEX|FOLDER "WORDS" [options]      varyclip search INDEX|FOLDER --duplicates',
  options: {
    ...clipOptions,
    model: { ...clipOptions['model'], help: 'the model of the index, where it is no longer where it was' },
    image: {
      type: 'string',
      short: 'i',
      value: 'FILE',
      multiple: true,
      reads: true,
      help: 'a picture like those wanted',
    },
    text: { type: 'string', value: 'TEXT', multiple: true, help: 'words beside the others; may be repeated' },
    minus: { type: 'string', value: 'TEXT', multiple: true, help: 'words that are taken away; may be repeated' },
    top: { type: 'string', value: 'N', help: 'pictures to print (10)' },
    where: {
      type: 'string',
      value: 'TEXT',
      multiple: true,
      help: 'size>10000, width>=640, modified>2024-05-31, path~*.png …, with "and" between',
    },
    exact: { type: 'boolean', help: 'look at every picture, also of a large index' },
    duplicates: { type: 'boolean', help: 'groups of pictures that are alike' },
    threshold: { type: 'string', value: 'X', help: 'cosine from which on they are alike (0.95)' },
    json: { type: 'boolean', help: 'one JSON document per picture or group, a line each' },
    ...storeOptions,
    html: { type: 'string', value: 'FILE', writes: 'file', help: 'write a page with thumbnails' },
  },
  // The others are words.
  inputs: ([dir]) => (dir === undefined ? [] : [dir]),
  run: search,
};

async function search(args: Arguments, io: Io): Promise<number> {
  const [dir, ...words] = args.positionals;
  if (dir === undefined) throw new InputError('search: name an index and what to look for');
  if (words.length > 1) throw new InputError('search: put the words in quotes');
  const duplicates = args.flag('duplicates');
  const texts = [...words, ...args.texts('text')];
  const isQuery = texts.length + args.texts('image').length + args.texts('minus').length > 0;
  if (duplicates === isQuery) {
    throw new InputError('search: give words, --image FILE or --text TEXT to look for, or --duplicates');
  }
  if (!duplicates && args.number('threshold') !== undefined)
    throw new InputError('search: --threshold goes with --duplicates');
  expectOutsideOf(dir, args.text('html'));
  const look = (index: string) => (duplicates ? findDuplicates(index, args, io) : findPictures(index, texts, args, io));
  if (modelOfIndex(dir) !== undefined) return look(dir);
  if (!directoryExists(dir)) {
    throw new InputError(`${dir}: there is no index or folder; make an index: varyclip index FOLDER --out ${dir}`);
  }
  return inFolder(dir, args, io, look);
}

/** An output may not be a file of the index, nor one of its pictures: those are known by their endings. */
function expectOutsideOf(dir: string, html: string | undefined): void {
  if (html === undefined) return;
  const root = readManifest(dir)?.root;
  if (root !== undefined && liesIn(html, dir))
    throw new InputError(`--html ${html}: lies in the index ${dir}, which has its own files there; name another place`);
  if (isPictureName(html) && liesIn(html, root ?? dir))
    throw new InputError(`--html ${html}: has the name of a picture of ${root ?? dir}; name a file that ends in .html`);
}

/** Searches a folder of pictures that has no index: one is made for this search and thrown away. */
async function inFolder(
  folder: string,
  args: Arguments,
  io: Io,
  look: (index: string) => Promise<number>,
): Promise<number> {
  const temporary = mkdtempSync(join(tmpdir(), 'varyclip-index-'));
  const status = statusLine(io);
  try {
    const model = await openClipModel('search', args);
    let failed: readonly { readonly reason: string }[];
    try {
      const index = await openIndex(join(temporary, 'index'), { model, root: folder });
      const onProgress = ({ done, total }: { done: number; total: number }) => status(`${done} of ${total} pictures`);
      ({ failed } = await index.update({ signal: io.signal, onProgress }).finally(() => index.dispose()));
    } finally {
      status('');
      await model.dispose();
    }
    for (const { reason } of failed) io.err(`varyclip: ${reason}\n`);
    const code = await look(join(temporary, 'index'));
    return code === 0 && failed.length > 0 ? 3 : code;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

async function findPictures(dir: string, texts: readonly string[], args: Arguments, io: Io): Promise<number> {
  const query = { text: texts, image: args.texts('image'), minus: args.texts('minus') };
  const top = args.count('top');
  const options = { where: whereOf(args), exact: args.flag('exact'), truncate: args.flag('truncate') };
  const status = statusLine(io);
  status('loading');
  const model = await openClipModel('search', args, modelOfIndex(dir));
  let index: PictureIndex | undefined;
  try {
    index = await openIndex(dir, { model, ...apiKeyOf(args) });
    const hits = await index.search(query, { ...options, signal: io.signal, ...(top !== undefined && { top }) });
    status('');
    if (hits.length === 0) io.err(`varyclip: ${dir}: no picture to show\n`);
    for (const hit of hits) printHit(hit, args, io);
    const html = args.text('html');
    if (html === undefined) return 0;
    const notes = ({ score, width, height }: SearchHit) => [`${score.toFixed(4)}, ${width} × ${height}`];
    const shown = hits.map((hit) => ({ name: hit.path, file: hit.file, notes: notes(hit) }));
    const title = [...texts, ...query.image, ...query.minus.map((text) => `without ${text}`)].join(', ');
    return await writeSheet(html, title, [{ heading: '', pictures: shown }], io);
  } finally {
    status('');
    await index?.dispose();
    await model.dispose();
  }
}

const whereOf = (args: Arguments): string | readonly [] => {
  const given = args.texts('where');
  return given.length === 0 ? [] : given.join(' and ');
};

function printHit(hit: SearchHit, args: Arguments, io: Io): void {
  if (args.flag('json')) io.out(`${JSON.stringify({ ...hit, modified: new Date(hit.modified).toISOString() })}\n`);
  else io.out(`${hit.score.toFixed(4)}\t${hit.file}\n`);
}

async function findDuplicates(dir: string, args: Arguments, io: Io): Promise<number> {
  const threshold = args.number('threshold');
  const index = await openIndex(dir, apiKeyOf(args));
  const status = statusLine(io);
  try {
    const groups = await index.duplicates({
      where: whereOf(args),
      ...(threshold !== undefined && { threshold }),
      onProgress: (done) => status(`comparing, ${done} pictures done`),
    });
    status('');
    if (groups.length === 0) io.err(`varyclip: ${dir}: no pictures are alike\n`);
    for (const { similarity, pictures } of groups) {
      const files = pictures.map(({ path }) => join(index.root, path));
      if (args.flag('json')) io.out(`${JSON.stringify({ similarity, files })}\n`);
      else io.out(`${similarity.toFixed(4)}\t${files.join('\t')}\n`);
    }
    const html = args.text('html');
    if (html === undefined) return 0;
    const sections = groups.map(({ similarity, pictures }) => ({
      heading: `${pictures.length} pictures, similarity from ${similarity.toFixed(4)}`,
      pictures: pictures.map(({ path, width, height, size }) => ({
        name: path,
        file: join(index.root, path),
        notes: [`${width} × ${height}, ${size} bytes`],
      })),
    }));
    return await writeSheet(html, 'Pictures that are alike', sections, io);
  } finally {
    status('');
    await index.dispose();
  }
}

type Listed = Omit<SheetPicture, 'thumbnail'> & { readonly file: string };

/** A contact sheet; pictures that cannot be read any more are reported and left out. Returns the exit code. */
async function writeSheet(
  path: string,
  title: string,
  sections: readonly { readonly heading: string; readonly pictures: readonly Listed[] }[],
  io: Io,
): Promise<number> {
  let failed = 0;
  const sheet: SheetSection[] = [];
  for (const { heading, pictures } of sections) {
    const shown: SheetPicture[] = [];
    for (const { name, file, notes } of pictures) {
      try {
        shown.push({ name, notes, thumbnail: await thumbnailUri(file) });
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        failed++;
        io.err(`varyclip: ${messageOf(error)}\n`);
      }
    }
    sheet.push({ heading, pictures: shown });
  }
  writeTextAtomic(path, contactSheetHtml(title, sheet));
  return failed > 0 ? 3 : 0;
}
