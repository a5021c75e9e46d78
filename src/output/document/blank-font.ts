/** A TrueType font whose glyphs are all empty and half an em wide: text in it takes room and shows nothing. */

/** Its units an em. */
const unitsPerEm = 1000;
export const blankAdvance = 500;
const [ascent, descent] = [800, -200];

const shorts = (...values: readonly number[]): number[] => values.flatMap((v) => [(v >> 8) & 255, v & 255]);
const longs = (...values: readonly number[]): number[] => values.flatMap((v) => shorts(v >>> 16, v & 0xffff));

/** Sum of a table's 32-bit numbers, its end filled with zeros. */
function checksum(table: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < table.length; i += 4) {
    const word = [0, 1, 2, 3].reduce((all, k) => all * 256 + (table[i + k] ?? 0), 0);
    sum = (sum + word) >>> 0;
  }
  return sum;
}

/** The file of a font with `glyphs` glyphs (Apple's TrueType reference: only the tables that a font in a PDF needs). */
export function blankFont(glyphs: number): Uint8Array {
  const tables: readonly (readonly [tag: string, table: readonly number[]])[] = [
    ['glyf', [0, 0, 0, 0]],
    // version, revision, checksum (filled in by no one: 0), magic, flags, units, two dates, box, style, least size, direction, short loca
    [
      'head',
      [
        ...longs(0x10000, 0x10000, 0, 0x5f0f3cf5),
        ...shorts(0, unitsPerEm),
        ...longs(0, 0, 0, 0),
        ...shorts(0, descent, blankAdvance, ascent, 0, 8, 2, 0, 0),
      ],
    ],
    ['hhea', [...longs(0x10000), ...shorts(ascent, descent, 0, blankAdvance, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1)]],
    ['hmtx', [...shorts(blankAdvance, 0), ...Array<number>(2 * (glyphs - 1)).fill(0)]],
    ['loca', Array<number>(2 * (glyphs + 1)).fill(0)],
    ['maxp', [...longs(0x10000), ...shorts(glyphs, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)]],
  ];
  const power = 2 ** Math.floor(Math.log2(tables.length));
  const header = [
    ...longs(0x10000),
    ...shorts(tables.length, 16 * power, Math.log2(power), 16 * (tables.length - power)),
  ];
  const body: number[] = [];
  const start = header.length + 16 * tables.length;
  for (const [tag, table] of tables) {
    header.push(...Array.from(tag, (letter) => letter.charCodeAt(0)));
    header.push(...longs(checksum(table), start + body.length, table.length));
    for (const byte of table) body.push(byte);
    while (body.length % 4 !== 0) body.push(0);
  }
  return Uint8Array.from([...header, ...body]);
}
