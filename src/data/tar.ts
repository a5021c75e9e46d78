/** Reads tar archives as they come (POSIX.1-2001 ustar and pax, GNU long names): nothing is written anywhere. */
import { InputError } from '../core/errors.js';

export interface TarFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface TarLimits {
  /** Of one file. Default 1 GiB. */
  readonly maxBytes?: number;
}

/** Bytes of a header; contents fill whole ones. */
export const block = 512;

/** Takes bytes from a stream by count. */
interface Taker {
  /** Exactly `count` bytes; undefined at the end of the stream where `atEnd` allows it. */
  take(count: number, atEnd?: boolean): Promise<Uint8Array | undefined>;
  /** How many were taken. */
  readonly position: number;
}

function createTaker(stream: AsyncIterable<Uint8Array>, where: string): Taker {
  const source = stream[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array(0);
  let position = 0;
  return {
    get position() {
      return position;
    },
    take: async (count, atEnd = false) => {
      const parts: Uint8Array[] = [];
      let missing = count;
      while (missing > 0) {
        if (rest.length === 0) {
          const next = await source.next();
          if (next.done) {
            if (atEnd && missing === count) return undefined;
            throw new InputError(`${where}: ends inside a file or header, at byte ${position}; the archive is cut off`);
          }
          rest = next.value;
          continue;
        }
        const part = rest.subarray(0, missing);
        parts.push(part);
        rest = rest.subarray(part.length);
        missing -= part.length;
        position += part.length;
      }
      return parts.length === 1 ? parts[0] : joined(parts, count);
    },
  };
}

function joined(parts: readonly Uint8Array[], size: number): Uint8Array {
  const all = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/**
 * The plain files of an archive, in order. Throws InputError for links and devices, names that lead out of the archive, wrong
 * checksums, files larger than the limit, and archives that are cut off.
 */
export async function* readTar(
  stream: AsyncIterable<Uint8Array>,
  where: string,
  { maxBytes = 2 ** 30 }: TarLimits = {},
): AsyncGenerator<TarFile> {
  const taker = createTaker(stream, where);
  let pax: Readonly<Record<string, string>> = {};
  let longName: string | undefined;
  for (;;) {
    const header = await taker.take(block, true);
    if (!header || header.every((byte) => byte === 0)) return;
    const at = `${where}: at byte ${taker.position - block}`;
    checkSum(header, at);
    const type = header[156] === 0 ? '0' : String.fromCharCode(header[156]);
    const size = pax['size'] === undefined ? sizeField(header, at) : Number(pax['size']);
    const name = pax['path'] ?? longName ?? nameField(header);
    if (!(Number.isSafeInteger(size) && size >= 0 && size <= maxBytes)) {
      throw new InputError(`${at}: ${name}: has ${size} bytes, at most ${maxBytes} are allowed`);
    }
    const content = (await taker.take(size)) ?? new Uint8Array(0);
    await taker.take((block - (size % block)) % block);
    if (type === 'x') pax = paxRecords(content, at);
    else if (type === 'L') longName = cString(content);
    else if (type !== 'g') {
      if (type === '0' || type === '7') yield { name: checkedName(name, at), bytes: content };
      else if (type !== '5') {
        throw new InputError(`${at}: ${name}: is ${kinds[type] ?? `of type ${type}`}; only plain files are read`);
      }
      pax = {};
      longName = undefined;
    }
  }
}

const kinds: Readonly<Record<string, string>> = {
  '1': 'a hard link',
  '2': 'a symbolic link',
  '3': 'a device',
  '4': 'a device',
  '6': 'a named pipe',
};

/** The sum of all bytes, the sum's own field as spaces. */
export function checkSum(header: Uint8Array, at: string): void {
  let sum = 0;
  for (let i = 0; i < block; i++) sum += i >= 148 && i < 156 ? 32 : header[i];
  const text = cString(header.subarray(148, 156)).trim();
  const stored = Number.parseInt(text, 8);
  if (stored === sum) return;
  if (/^[0-7]+$/.test(text))
    throw new InputError(`${at}: expected a tar header, its checksum is ${stored} and not ${sum}`);
  throw new InputError(
    `${at}: expected a tar header, got something else; a compressed archive is to be unpacked first`,
  );
}

/** Octal digits, or a big-endian number where the first bit is set. */
export function sizeField(header: Uint8Array, at: string): number {
  const field = header.subarray(124, 136);
  if (field[0] & 0x80) return field.subarray(1).reduce((sum, byte) => sum * 256 + byte, field[0] & 0x7f);
  const text = cString(field).trim();
  if (!/^[0-7]*$/.test(text)) throw new InputError(`${at}: size: expected octal digits, got ${JSON.stringify(text)}`);
  return text === '' ? 0 : Number.parseInt(text, 8);
}

export function nameField(header: Uint8Array): string {
  const name = cString(header.subarray(0, 100));
  const isUstar = cString(header.subarray(257, 262)) === 'ustar';
  const prefix = isUstar ? cString(header.subarray(345, 500)) : '';
  return prefix === '' ? name : `${prefix}/${name}`;
}

export function cString(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** `<length> <key>=<value>\n`, the length of the whole record in bytes. */
export function paxRecords(bytes: Uint8Array, at: string): Record<string, string> {
  const records: Record<string, string> = {};
  for (let start = 0; start < bytes.length; ) {
    const space = bytes.indexOf(32, start);
    const length = Number(new TextDecoder().decode(bytes.subarray(start, Math.max(start, space))));
    const record = new TextDecoder().decode(bytes.subarray(space + 1, start + length));
    const equals = record.indexOf('=');
    if (space < 0 || !(length > 0) || equals < 0 || !record.endsWith('\n')) {
      throw new InputError(`${at}: expected a pax record, got ${JSON.stringify(record.slice(0, 40))}`);
    }
    records[record.slice(0, equals)] = record.slice(equals + 1, -1);
    start += length;
  }
  return records;
}

function checkedName(name: string, at: string): string {
  if (name.startsWith('/') || name.split('/').includes('..')) {
    throw new InputError(`${at}: ${name}: leads out of the archive`);
  }
  return name.replace(/^(\.\/)+/, '');
}
