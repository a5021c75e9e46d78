/** What a bulk reading reads: files, folders, patterns and archives become a list of documents with names for what comes out. */
import { closeSync, fstatSync, openSync, readdirSync } from 'node:fs';
import { basename, extname, join, posix, resolve } from 'node:path';
import { InputError, messageOf } from '../../core/errors.js';
import { type TarMember, tarMembers } from '../../data/tar-members.js';
import { readRange } from '../files.js';
import { liesIn } from '../output-place.js';
import { expectFile, lookAt, reasonOf } from '../place.js';
import { expandPattern, isPattern } from './glob.js';
import { stateFolder } from './write-outputs.js';

/** A document to read: a picture, a TIFF of several pages, a PDF; in a file of its own or in an archive. */
export interface InputDocument {
  /** What it is known by from run to run: its absolute path, with the member of an archive behind `!`. */
  readonly key: string;
  /** As it was named. */
  readonly source: string;
  readonly file: string;
  /** Of a member of an archive: where its bytes are. */
  readonly range?: { readonly offset: number; readonly size: number };
  /** What its outputs are called, within the output directory and without an ending; forward slashes. */
  readonly name: string;
}

/** What was named and cannot be read. */
export interface InputProblem {
  readonly source: string;
  readonly reason: string;
}

export interface Inputs {
  readonly documents: readonly InputDocument[];
  readonly problems: readonly InputProblem[];
  /** Files in folders whose ending is of nothing that is read: how many, by ending. */
  readonly passedOver: Readonly<Record<string, number>>;
}

const endings = new Set(['.png', '.jpg', '.jpeg', '.webp', '.gif', '.tif', '.tiff', '.pdf']);
const isArchive = (path: string) => extname(path).toLowerCase() === '.tar';

/** A file called as a member's key is (`a.tar!b.png`) gets a key that is no absolute path. */
function keyOf(path: string): string {
  const absolute = resolve(path);
  return /\.tar!/i.test(absolute) ? `file:${absolute}` : absolute;
}

interface Found extends Omit<InputDocument, 'name'> {
  /** Its path below what was named, with its ending. */
  readonly below: string;
}

/**
 * The documents that `paths` name: files as they are, folders with all below them that has the ending of a picture, PDF or tar,
 * patterns. Links to files are followed, links to folders are not, so that no folder is read twice. What cannot be found is a
 * problem, not an error. One file that is named several times is read once.
 */
export function findInputs(paths: readonly string[]): Inputs {
  const found = new Map<string, Found>();
  const problems: InputProblem[] = [];
  const add = (document: Found) => {
    if (!found.has(document.key)) found.set(document.key, document);
  };
  const problem = (source: string, reason: string) => void problems.push({ source, reason });
  const passedOver: Record<string, number> = {};
  const passOver = (ending: string) => {
    passedOver[ending] = (passedOver[ending] ?? 0) + 1;
  };
  const addFile = (source: string, below: string) => {
    if (isArchive(source)) addArchive(source, below, add, problem);
    else add({ key: keyOf(source), source, file: resolve(source), below });
  };
  for (const path of paths) {
    for (const each of filesNamed(path, problem)) {
      const place = lookAt(each);
      if (place.kind === 'none') problem(each, `${each}: ${place.reason}`);
      else if (place.kind === 'unknown') problem(each, `${each}: cannot be looked at: ${place.reason}`);
      else if (place.kind === 'directory') {
        for (const below of filesBelow(each, problem, passOver)) addFile(join(each, below), below);
      } else if (place.kind === 'file') addFile(each, isPattern(path) ? belowPattern(path, each) : basename(each));
      else problem(each, `${each}: expected a file or a folder, got ${place.what}`);
    }
  }
  return { documents: nameDocuments([...found.values()]), problems, passedOver };
}

type Problem = (source: string, reason: string) => void;

/** A path itself, or what it matches. */
function filesNamed(path: string, problem: Problem): string[] {
  if (!isPattern(path) || 'what' in lookAt(path)) return [path];
  try {
    const found = expandPattern(path);
    if (found.length === 0) problem(path, `${path}: matches no file`);
    return found;
  } catch (cause) {
    problem(path, `${path}: cannot be looked for: ${reasonOf(cause, path)}`);
    return [];
  }
}

/** A match without the folders that the pattern names outright. */
function belowPattern(pattern: string, path: string): string {
  const fixed = pattern.split('/').findIndex(isPattern);
  return path.split('/').slice(fixed).join('/');
}

/** Paths of files below a folder, sorted. */
function filesBelow(root: string, problem: Problem, passOver: (ending: string) => void): string[] {
  const files: string[] = [];
  const visit = (below: string) => {
    const folder = join(root, below);
    let entries: ReturnType<typeof listFolder>;
    try {
      entries = listFolder(folder);
    } catch (error) {
      problem(folder, `${folder}: cannot be read: ${reasonOf(error, folder)}`);
      return;
    }
    for (const entry of entries) {
      const path = below === '' ? entry.name : `${below}/${entry.name}`;
      const ending = extname(entry.name).toLowerCase();
      if (entry.isDirectory()) visit(path);
      else if (endings.has(ending) || ending === '.tar') files.push(path);
      else if (entry.isFile()) passOver(ending);
    }
  };
  visit('');
  return files.sort();
}

const listFolder = (folder: string) => readdirSync(folder, { withFileTypes: true });

/** Members of an archive that have a document's ending. A name that leads out of the archive, or a link, is a problem. */
function addArchive(source: string, below: string, add: (document: Found) => void, problem: Problem): void {
  const base = below.replace(/\.tar$/i, '');
  try {
    // To open a pipe is to wait for whoever writes into it.
    expectFile(source);
    const handle = openSync(source, 'r');
    try {
      const { size } = fstatSync(handle);
      const read = (offset: number, length: number) => readRange(handle, offset, length);
      const seen = new Set<string>();
      for (const member of tarMembers(read, size, source)) {
        const where = `${source}!${member.name}`;
        // `./a//b` and `a/b` are one file to whoever unpacks them.
        const name = posix.normalize(member.name);
        const wrong = problemOfMember(member, seen.has(name));
        seen.add(name);
        if (wrong !== undefined) problem(where, `${where}: ${wrong}`);
        else if (member.kind === 'file' && endings.has(extname(member.name).toLowerCase())) {
          const { offset, size: length } = member;
          const place = { file: resolve(source), range: { offset, size: length } };
          add({ key: `${keyOf(source)}!${name}`, source: where, below: `${base}/${name}`, ...place });
        }
      }
    } finally {
      closeSync(handle);
    }
  } catch (error) {
    problem(source, error instanceof InputError ? error.message : `${source}: cannot be read: ${messageOf(error)}`);
  }
}

function problemOfMember({ name, kind }: TarMember, seen: boolean): string | undefined {
  if (name.startsWith('/') || /^[a-z]:/i.test(name) || name.split(/[/\\]/).includes('..')) {
    return 'its name leads out of the archive';
  }
  if (name.includes('\0')) return 'its name has a zero byte in it';
  if (kind === 'link' && endings.has(extname(name).toLowerCase())) return 'is a link, which is not followed';
  if (kind === 'file' && seen) return 'is in the archive twice; the first one is read';
  return undefined;
}

/**
 * Names for what comes out: the path below what was named without its ending; where several documents would share that, with
 * their endings; where they still would, with a number behind all but the first. A folder called as the job's own gets a number too.
 */
function nameDocuments(found: readonly Found[]): InputDocument[] {
  const stem = (below: string) => below.slice(0, below.length - extname(below).length);
  // File systems may not tell upper from lower case.
  const fold = (name: string) => name.normalize('NFC').toLowerCase();
  const counts = new Map<string, number>();
  for (const { below } of found) counts.set(fold(stem(below)), (counts.get(fold(stem(below))) ?? 0) + 1);
  const taken = new Set<string>();
  const unreserved = (name: string) => {
    const [folder, ...rest] = name.split('/');
    return rest.length > 0 && fold(folder) === stateFolder ? [`${folder}-2`, ...rest].join('/') : name;
  };
  return found.map(({ below, ...document }) => {
    const wanted = unreserved(counts.get(fold(stem(below))) === 1 ? stem(below) : below);
    let name = wanted;
    for (let n = 2; taken.has(fold(name)); n++) name = `${wanted}-${n}`;
    taken.add(fold(name));
    return { ...document, name };
  });
}

/** `3 files passed over: .bmp, .avif`; undefined where there are none. */
export function passedOverText({ passedOver }: Pick<Inputs, 'passedOver'>): string | undefined {
  const count = Object.values(passedOver).reduce((sum, files) => sum + files, 0);
  if (count === 0) return undefined;
  const names = Object.keys(passedOver).sort();
  return `${count} ${count === 1 ? 'file' : 'files'} passed over: ${names.map((name) => name || 'without an ending').join(', ')}`;
}

/** Throws InputError where nothing that was named is, or has in it, anything to read. */
export function expectSomething({ documents, problems, ...inputs }: Inputs, paths: readonly string[]): void {
  if (documents.length + problems.length > 0) return;
  const where =
    paths.length === 0
      ? 'no path was named'
      : `there is nothing in ${paths.slice(0, 3).join(', ')}${paths.length > 3 ? ', …' : ''}`;
  const passed = passedOverText(inputs);
  throw new InputError(
    `nothing to read: ${where}${passed === undefined ? '' : `; ${passed}`}; what is read ends in ${[...endings].join(', ')} or .tar`,
  );
}

/** Whether an output directory lies where its own files would be taken for inputs. */
export function expectOutside(out: string, paths: readonly string[]): void {
  const inside = paths.find((path) => lookAt(path).kind === 'directory' && liesIn(out, path));
  if (inside === undefined) return;
  throw new InputError(
    `--out ${out}: lies in ${inside}, so what is written would be read the next time; name another place`,
  );
}
