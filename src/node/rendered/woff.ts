import { inflateSync } from 'node:zlib';
import { InputError } from '../../core/errors.js';

/** The bytes of one table of a TrueType, OpenType or WOFF file. */
function fontTable(bytes: Buffer, tag: string, what: string): Buffer {
  const isWoff = bytes.toString('latin1', 0, 4) === 'wOFF';
  const count = bytes.readUInt16BE(isWoff ? 12 : 4);
  for (let i = 0; i < count; i++) {
    const at = isWoff ? 44 + i * 20 : 12 + i * 16;
    if (bytes.toString('latin1', at, at + 4) !== tag) continue;
    if (!isWoff)
      return bytes.subarray(bytes.readUInt32BE(at + 8), bytes.readUInt32BE(at + 8) + bytes.readUInt32BE(at + 12));
    const start = bytes.readUInt32BE(at + 4);
    const stored = bytes.subarray(start, start + bytes.readUInt32BE(at + 8));
    const length = bytes.readUInt32BE(at + 12);
    return stored.length < length ? inflateSync(stored) : stored;
  }
  throw new InputError(`${what}: expected a font with a table ${tag}`);
}

/** Glyph of a character by a format 4 subtable (OpenType, "cmap"). */
function glyphInSegments(cmap: Buffer, at: number, code: number): number {
  const segments = cmap.readUInt16BE(at + 6) / 2;
  for (let i = 0; i < segments; i++) {
    if (code > cmap.readUInt16BE(at + 14 + i * 2)) continue;
    const start = cmap.readUInt16BE(at + 16 + (segments + i) * 2);
    if (code < start) return 0;
    const delta = cmap.readUInt16BE(at + 16 + (2 * segments + i) * 2);
    const offsetAt = at + 16 + (3 * segments + i) * 2;
    const offset = cmap.readUInt16BE(offsetAt);
    if (offset === 0) return (code + delta) & 0xffff;
    const glyph = cmap.readUInt16BE(offsetAt + offset + (code - start) * 2);
    return glyph === 0 ? 0 : (glyph + delta) & 0xffff;
  }
  return 0;
}

/** Glyph of a character by a format 12 subtable. */
function glyphInGroups(cmap: Buffer, at: number, code: number): number {
  const groups = cmap.readUInt32BE(at + 12);
  for (let i = 0; i < groups; i++) {
    const group = at + 16 + i * 12;
    const start = cmap.readUInt32BE(group);
    if (code >= start && code <= cmap.readUInt32BE(group + 4)) return cmap.readUInt32BE(group + 8) + code - start;
  }
  return 0;
}

/** Those of `characters` that the font file has a glyph for. Throws InputError where it is no font. */
export function coveredCharacters(bytes: Buffer, characters: string, what: string): Set<string> {
  const cmap = fontTable(bytes, 'cmap', what);
  const subtables = Array.from({ length: cmap.readUInt16BE(2) }, (_, i) => cmap.readUInt32BE(4 + i * 8 + 4));
  const has = (code: number) =>
    subtables.some((at) => {
      const format = cmap.readUInt16BE(at);
      if (format === 4) return glyphInSegments(cmap, at, code) !== 0;
      return format === 12 && glyphInGroups(cmap, at, code) !== 0;
    });
  return new Set([...characters].filter((character) => has(character.codePointAt(0) as number)));
}
