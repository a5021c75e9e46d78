import { WeightsError } from '../core/errors.js';
import { type ByteSource, decodeUtf8, readBytes, shown, uint64At, viewOf } from './source.js';

/** A member of a zip archive. */
export interface ZipMember {
  readonly name: string;
  /** Where its local header is. */
  readonly headerAt: number;
  readonly size: number;
  /** Bytes it takes in the file; other than `size` for a compressed member only, which can be listed but not read. */
  readonly storedSize: number;
  /** CRC-32 of the content; 0 also stands for "not recorded". */
  readonly crc: number;
}

export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

interface Directory {
  readonly offset: number;
  readonly size: number;
  readonly count: number;
}

const endSignature = 0x06054b50;
const endBytes = 22;
const end64Signature = 0x06064b50;
const end64Bytes = 56;
const locatorSignature = 0x07064b50;
const locatorBytes = 20;
const entrySignature = 0x02014b50;
const entryBytes = 46;
const localSignature = 0x04034b50;
const localBytes = 30;
const maxComment = 0xffff;
const maxDirectoryBytes = 64 << 20;
const maxMembers = 200_000;
const encryptedFlag = 1;
const zip64Extra = 1;
/** The programs in a TorchScript archive: nothing here reads them. */
const programs = /^[^/]+\/code\//;

/**
 * Lists a zip archive (APPNOTE.TXT of the format) by its central directory alone. Throws WeightsError for encrypted members,
 * compressed ones (but a TorchScript archive's programs, which nothing reads), a name that occurs twice, members over one another, and whatever two readers could understand differently.
 */
export async function readZip(source: ByteSource): Promise<ReadonlyMap<string, ZipMember>> {
  const { offset, size, count } = await findDirectory(source);
  const bytes = await readBytes(source, offset, size, 'the zip directory');
  const members = new Map<string, ZipMember>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    const { member, next } = readEntry(bytes, at, source.name);
    if (members.has(member.name)) fail(source, `the member ${shown(member.name)} occurs twice`);
    members.set(member.name, member);
    at = next;
  }
  if (at !== size) fail(source, `expected ${count} members in the directory, got bytes after them`);
  checkOverlap(source, members, offset);
  return members;
}

/** Where a member's content is. Throws WeightsError where its local header is another member's, or runs into the directory. */
export async function locateMember(source: ByteSource, member: ZipMember): Promise<ByteRange> {
  const view = viewOf(await readBytes(source, member.headerAt, localBytes, member.name));
  const nameBytes = view.getUint16(26, true);
  const name = await readBytes(source, member.headerAt + localBytes, nameBytes, member.name);
  if (view.getUint32(0, true) !== localSignature || decodeUtf8(name, source.name) !== member.name) {
    fail(source, `expected the header of ${shown(member.name)} at ${member.headerAt}`);
  }
  if (view.getUint16(8, true) !== 0) fail(source, `the header of ${shown(member.name)} says it is compressed`);
  return { offset: member.headerAt + localBytes + nameBytes + view.getUint16(28, true), length: member.size };
}

/** A member's content. Throws WeightsError for more than `maxBytes`, or where the checksum does not fit. */
export async function readMember(source: ByteSource, member: ZipMember, maxBytes: number): Promise<Uint8Array> {
  if (member.size > maxBytes) {
    fail(source, `expected at most ${maxBytes} bytes in ${shown(member.name)}, got ${member.size}`);
  }
  const { offset, length } = await locateMember(source, member);
  const bytes = await readBytes(source, offset, length, member.name);
  checkCrc(source, member, bytes);
  return bytes;
}

/** Throws WeightsError where a member's whole content does not have the recorded checksum. */
export function checkCrc(source: ByteSource, member: ZipMember, bytes: Uint8Array): void {
  // torch.serialization.set_crc32_options(False) leaves the field empty.
  if (member.crc !== 0 && crc32(bytes) !== member.crc) {
    fail(source, `the checksum of ${shown(member.name)} is wrong: the file is damaged; get it again`);
  }
}

async function findDirectory(source: ByteSource): Promise<Directory> {
  const tailBytes = Math.min(source.size, endBytes + maxComment);
  const tailAt = source.size - tailBytes;
  const view = viewOf(await readBytes(source, tailAt, tailBytes, 'the end of the zip archive'));
  for (let at = tailBytes - endBytes; at >= 0; at--) {
    if (view.getUint32(at, true) === endSignature && at + endBytes + view.getUint16(at + 20, true) === tailBytes) {
      return readEnd(source, view, at, tailAt);
    }
  }
  return fail(source, 'expected a zip directory at the end of the file; the file is cut off');
}

async function readEnd(source: ByteSource, tail: DataView, at: number, tailAt: number): Promise<Directory> {
  const hasLocator = at >= locatorBytes && tail.getUint32(at - locatorBytes, true) === locatorSignature;
  const end = {
    count: tail.getUint16(at + 10, true),
    size: tail.getUint32(at + 12, true),
    offset: tail.getUint32(at + 16, true),
  };
  const recordAt = hasLocator ? uint64At(tail, at - locatorBytes + 8) : tailAt + at;
  const directory = hasLocator ? await readEnd64(source, recordAt) : end;
  const agrees = (short: number, full: number, unknown: number) => short === full || short === unknown;
  const consistent =
    agrees(end.count, directory.count, 0xffff) &&
    agrees(end.size, directory.size, 0xffffffff) &&
    agrees(end.offset, directory.offset, 0xffffffff) &&
    tail.getUint16(at + 8, true) === end.count &&
    tail.getUint32(at + 4, true) === 0 &&
    directory.offset + directory.size === recordAt;
  if (!consistent) fail(source, 'the zip directory is not where the end of the file says; the file is damaged');
  if (directory.count > maxMembers || directory.size > maxDirectoryBytes) {
    fail(source, `expected at most ${maxMembers} members, got ${directory.count} in ${directory.size} bytes`);
  }
  return directory;
}

async function readEnd64(source: ByteSource, at: number): Promise<Directory> {
  const view = viewOf(await readBytes(source, at, end64Bytes, 'the zip64 directory'));
  if (view.getUint32(0, true) !== end64Signature) fail(source, `expected a zip64 record at ${at}`);
  return { count: uint64At(view, 32), size: uint64At(view, 40), offset: uint64At(view, 48) };
}

function readEntry(bytes: Uint8Array, at: number, where: string): { member: ZipMember; next: number } {
  const view = viewOf(bytes);
  if (at + entryBytes > bytes.length || view.getUint32(at, true) !== entrySignature) {
    throw new WeightsError(`${where}: expected a zip entry at byte ${at} of the directory`);
  }
  const nameAt = at + entryBytes;
  const extraAt = nameAt + view.getUint16(at + 28, true);
  const commentAt = extraAt + view.getUint16(at + 30, true);
  const next = commentAt + view.getUint16(at + 32, true);
  if (next > bytes.length) throw new WeightsError(`${where}: a zip entry runs past the directory`);
  const name = decodeUtf8(bytes.subarray(nameAt, extraAt), where);
  const label = `${where}: the member ${shown(name)}`;
  if (view.getUint16(at + 8, true) & encryptedFlag) throw new WeightsError(`${label} is encrypted`);
  const isProgram = programs.test(name);
  if (view.getUint16(at + 10, true) !== 0 && !isProgram) {
    throw new WeightsError(`${label} is compressed; torch.save stores members as they are, so save the file again`);
  }
  const short = {
    compressed: view.getUint32(at + 20, true),
    size: view.getUint32(at + 24, true),
    headerAt: view.getUint32(at + 42, true),
  };
  const { compressed, size, headerAt } = widenEntry(short, bytes.subarray(extraAt, commentAt), label);
  if (compressed !== size && !isProgram)
    throw new WeightsError(`${label} is stored, but its two sizes differ: ${size}, ${compressed}`);
  return { member: { name, headerAt, size, storedSize: compressed, crc: view.getUint32(at + 16, true) }, next };
}

interface EntrySizes {
  compressed: number;
  size: number;
  headerAt: number;
}

/** Replaces fields of all ones by the 64-bit ones of the zip64 extra field. */
function widenEntry(short: EntrySizes, extra: Uint8Array, label: string): EntrySizes {
  let rest = findExtra(extra, zip64Extra, label);
  const widen = (value: number): number => {
    if (value !== 0xffffffff) return value;
    if (rest.length < 8) throw new WeightsError(`${label} has no 64-bit size or offset where it says it has`);
    const wide = uint64At(viewOf(rest), 0);
    rest = rest.subarray(8);
    return wide;
  };
  const size = widen(short.size);
  const compressed = widen(short.compressed);
  return { size, compressed, headerAt: widen(short.headerAt) };
}

function findExtra(extra: Uint8Array, id: number, label: string): Uint8Array {
  const view = viewOf(extra);
  for (let at = 0; at + 4 <= extra.length; ) {
    const end = at + 4 + view.getUint16(at + 2, true);
    if (end > extra.length) throw new WeightsError(`${label} has a broken extra field`);
    if (view.getUint16(at, true) === id) return extra.subarray(at + 4, end);
    at = end;
  }
  return new Uint8Array(0);
}

function checkOverlap(source: ByteSource, members: ReadonlyMap<string, ZipMember>, directoryAt: number): void {
  let end = 0;
  for (const { name, headerAt, storedSize } of [...members.values()].sort((a, b) => a.headerAt - b.headerAt)) {
    if (headerAt < end) fail(source, `the member ${shown(name)} overlaps another`);
    end = headerAt + localBytes + storedSize;
    if (end > directoryAt)
      fail(source, `the member ${shown(name)} runs past the data, its size ${storedSize} is wrong`);
  }
}

/** Tables for four bytes at a time: table k is the CRC of a byte followed by k zero bytes. */
function crcTables(): readonly Uint32Array[] {
  const tables = Array.from({ length: 4 }, () => new Uint32Array(256));
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1;
    tables[0][byte] = crc;
  }
  for (let k = 1; k < 4; k++) {
    for (let byte = 0; byte < 256; byte++) {
      const before = tables[k - 1][byte];
      tables[k][byte] = tables[0][before & 0xff] ^ (before >>> 8);
    }
  }
  return tables;
}

let tables: readonly Uint32Array[] | undefined;

/** The CRC-32 of zip archives. */
export function crc32(bytes: Uint8Array): number {
  tables ??= crcTables();
  const [t0, t1, t2, t3] = tables;
  const whole = bytes.length & ~3;
  let crc = -1;
  for (let i = 0; i < whole; i += 4) {
    crc ^= bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
    crc = t3[crc & 0xff] ^ t2[(crc >>> 8) & 0xff] ^ t1[(crc >>> 16) & 0xff] ^ t0[crc >>> 24];
  }
  for (let i = whole; i < bytes.length; i++) crc = t0[(crc ^ bytes[i]) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}

function fail(source: ByteSource, message: string): never {
  throw new WeightsError(`${source.name}: ${message}`);
}
