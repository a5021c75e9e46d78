/** An archive for tests, a header for each entry as ustar has it. */
export interface TarEntry {
  readonly name: string;
  readonly content?: string | Uint8Array;
  /** Default '0', a plain file. */
  readonly type?: string;
  readonly prefix?: string;
}

const block = 512;

export function makeTar(entries: readonly TarEntry[]): Uint8Array {
  const parts = entries.flatMap(({ name, content = '', type = '0', prefix = '' }) => {
    const bytes = Buffer.from(content as string);
    const header = Buffer.alloc(block);
    header.write(name, 0, 100);
    header.write('0000644\0', 100);
    header.write(`${bytes.length.toString(8).padStart(11, '0')}\0`, 124);
    header.write('        ', 148);
    header.write(type, 156);
    header.write('ustar\x0000', 257);
    header.write(prefix, 345);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    return [header, bytes, Buffer.alloc((block - (bytes.length % block)) % block)];
  });
  return Buffer.concat([...parts, Buffer.alloc(2 * block)]);
}

/** A pax record: its length counts itself. */
export function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  const bytes = Buffer.byteLength(rest);
  let length = bytes + 1;
  while (String(length).length + bytes !== length) length = String(length).length + bytes;
  return `${length}${rest}`;
}
