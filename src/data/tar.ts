/** Headers of POSIX tar archives (ustar, pax and GNU names): where members lie. Nothing is ever unpacked to a disk. */
import { InputError } from '../core/errors.js';

/** A member of an archive. */
export interface TarMember {
  readonly name: string;
  readonly kind: 'file' | 'link' | 'other';
  /** Where its bytes begin in the archive, and how many there are. */
  readonly offset: number;
  readonly size: number;
}

export const tarBlock = 512;
/** Longest name or pax header that is read. */
const maxExtra = 1 << 20;

const decoder = new TextDecoder();

function textField(block: Uint8Array, at: number, length: number): string {
  const field = block.subarray(at, at + length);
  const end = field.indexOf(0);
  return decoder.decode(end < 0 ? field : field.subarray(0, end));
}

/** A number in octal, or where it is too large for that in binary. Throws InputError for anything else. */
function numberField(block: Uint8Array, at: number, length: number, where: string): number {
  if (block[at] & 0x80) {
    const value = block.subarray(at + 1, at + length).reduce((sum, byte) => sum * 256 + byte, block[at] & 0x7f);
    if (Number.isSafeInteger(value)) return value;
    throw new InputError(`${where}: is damaged: a number in a header is too large`);
  }
  const text = textField(block, at, length).trim();
  if (text !== '' && !/^[0-7]+$/.test(text))
    throw new InputError(`${where}: is damaged: expected an octal number in a header, got ${JSON.stringify(text)}`);
  return text === '' ? 0 : Number.parseInt(text, 8);
}

function isHeader(block: Uint8Array, where: string): boolean {
  const stored = numberField(block, 148, 8, where);
  let sum = 8 * 32;
  for (let i = 0; i < tarBlock; i++) if (i < 148 || i >= 156) sum += block[i];
  return sum === stored;
}

/** Records of a pax header: `length key=value\n` each. */
function paxRecords(bytes: Uint8Array): ReadonlyMap<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const length = Number(decoder.decode(bytes.subarray(at, space)));
    if (space < 0 || !(length > 0)) break;
    const record = decoder.decode(bytes.subarray(space + 1, at + length - 1));
    const equals = record.indexOf('=');
    records.set(record.slice(0, equals), record.slice(equals + 1));
    at += length;
  }
  return records;
}

const kinds: Readonly<Record<string, TarMember['kind']>> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '1': 'link',
  '2': 'link',
};

/**
 * The members of an archive of `size` bytes, in order; only headers are read. Throws InputError, naming `where`, at the first
 * header that is damaged or where the archive ends early; members before it were given.
 */
export function* tarMembers(
  read: (offset: number, length: number) => Uint8Array,
  size: number,
  where: string,
): Generator<TarMember> {
  let extra: { readonly name?: string; readonly size?: number } = {};
  for (let at = 0; at + tarBlock <= size; ) {
    const block = read(at, tarBlock);
    if (block.every((byte) => byte === 0)) return;
    if (!isHeader(block, where))
      throw new InputError(`${where}: is damaged, or no tar: the header at byte ${at} has a wrong sum`);
    const type = String.fromCharCode(block[156]);
    const length = extra.size ?? numberField(block, 124, 12, where);
    const offset = at + tarBlock;
    if (offset + length > size)
      throw new InputError(
        `${where}: ends early: a member needs ${length} bytes at byte ${offset}, the file has ${size}`,
      );
    at = offset + Math.ceil(length / tarBlock) * tarBlock;
    if (type === 'L' || type === 'x') {
      if (length > maxExtra)
        throw new InputError(
          `${where}: a header at byte ${offset} has ${length} bytes, at most ${maxExtra} are allowed`,
        );
      const bytes = read(offset, length);
      if (type === 'L') extra = { ...extra, name: textField(bytes, 0, length) };
      else {
        const records = paxRecords(bytes);
        const [name, stated] = [records.get('path'), records.get('size')];
        extra = {
          ...extra,
          ...(name !== undefined && { name }),
          ...(stated !== undefined && { size: Number(stated) }),
        };
      }
      continue;
    }
    if (type === 'g' || type === 'K') continue;
    const prefix = textField(block, 257, 5) === 'ustar' ? textField(block, 345, 155) : '';
    const own = textField(block, 0, 100);
    const name = extra.name ?? (prefix === '' ? own : `${prefix}/${own}`);
    extra = {};
    yield { name, kind: kinds[type] ?? 'other', offset, size: length };
  }
}
