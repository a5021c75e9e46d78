/** Where the members of a tar archive lie, by its headers alone: an archive of any size is listed without reading what is in it. */
import { InputError } from '../core/errors.js';
import { block, checkSum, cString, nameField, paxRecords, sizeField } from './tar.js';

/** A member of an archive. Its name is as it stands there, wherever that leads. */
export interface TarMember {
  readonly name: string;
  readonly kind: 'file' | 'link' | 'other';
  /** Where its bytes begin in the archive, and how many there are. */
  readonly offset: number;
  readonly size: number;
}

/** Longest name or pax header that is read. */
const maxExtra = 1 << 20;

const kinds: Readonly<Record<string, TarMember['kind']>> = { '0': 'file', '7': 'file', '1': 'link', '2': 'link' };

/**
 * The members of an archive of `size` bytes, in order. Throws InputError, naming `where`, at the first header that is damaged or
 * where the archive ends early; members before it were given.
 */
export function* tarMembers(
  read: (offset: number, length: number) => Uint8Array,
  size: number,
  where: string,
): Generator<TarMember> {
  let pax: Readonly<Record<string, string>> = {};
  let longName: string | undefined;
  if (size === 0) throw new InputError(`${where}: expected an archive, got an empty file`);
  // What ends behind a member is whole, also without the zeros that an archive should end with.
  for (let at = 0; at < size; ) {
    const header = read(at, block);
    const place = `${where}: at byte ${at}`;
    const isEnd = header.every((byte) => byte === 0);
    if (header.length < block && (at === 0 || !isEnd)) {
      throw new InputError(`${place}: ends inside a header: the archive is cut off`);
    }
    if (isEnd) return;
    checkSum(header, place);
    const type = header[156] === 0 ? '0' : String.fromCharCode(header[156]);
    const length = pax['size'] === undefined ? sizeField(header, place) : Number(pax['size']);
    const offset = at + block;
    if (!Number.isSafeInteger(length) || length < 0 || offset + length > size) {
      throw new InputError(`${place}: a member of ${length} bytes does not fit: the archive is cut off`);
    }
    at = offset + Math.ceil(length / block) * block;
    if (type === 'x' || type === 'L') {
      if (length > maxExtra)
        throw new InputError(`${place}: a header has ${length} bytes, at most ${maxExtra} are read`);
      if (type === 'L') longName = cString(read(offset, length));
      else pax = paxRecords(read(offset, length), place);
    } else if (type !== 'g' && type !== 'K') {
      yield { name: pax['path'] ?? longName ?? nameField(header), kind: kinds[type] ?? 'other', offset, size: length };
      pax = {};
      longName = undefined;
    }
  }
}
