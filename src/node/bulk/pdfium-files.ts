/** Files that pdfium reads piece by piece (FPDF_FILEACCESS of fpdfview.h): a function of ours in its WebAssembly table. */

// Neither the library for ES2023 nor Node's types know of WebAssembly.
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: { readonly read: unknown } };
};

/** Bytes of a file. */
export interface FileRange {
  readonly size: number;
  /** As many of `length` bytes from `offset` as there are. */
  read(offset: number, length: number): Uint8Array;
}

/** What is needed of pdfium's own exports. */
export interface PdfiumMemory {
  readonly wasmExports: {
    readonly memory: { readonly buffer: ArrayBuffer; grow(pages: number): number };
    readonly __indirect_function_table: { set(index: number, value: unknown): void };
    malloc(size: number): number;
    free(pointer: number): void;
  };
  readonly HEAPU8: Uint8Array;
}

/** An FPDF_FILEACCESS in pdfium's memory. */
export interface FileAccess {
  readonly pointer: number;
  /** Bytes that were asked for until now. */
  bytesRead(): number;
  dispose(): void;
}

/** `(module (import "host" "read" (func (param i32 i32 i32 i32) (result i32))) (export "read" (func 0)))`: a table takes no function of JavaScript. */
const moduleBytes = Uint8Array.from([
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  ...[0x01, 0x09, 0x01, 0x60, 0x04, 0x7f, 0x7f, 0x7f, 0x7f, 0x01, 0x7f],
  ...[0x02, 0x0d, 0x01, 0x04, ...Buffer.from('host'), 0x04, ...Buffer.from('read'), 0x00, 0x00],
  ...[0x07, 0x08, 0x01, 0x04, ...Buffer.from('read'), 0x00, 0x00],
]);

/** The table cannot grow. Its entry 0 stands for the null pointer, so nothing of pdfium's is there. */
const entry = 0;
const accessSize = 12;

/** Makes accesses for one library. */
export function createFileAccesses(pdfium: PdfiumMemory): (file: FileRange) => FileAccess {
  const { malloc, free, __indirect_function_table: table } = pdfium.wasmExports;
  const files = new Map<number, { readonly file: FileRange; bytes: number }>();
  /** `m_GetBlock`: 1 where all bytes are there. A call through a null pointer would end here too, with a key that is nobody's. */
  const read = (key: number, offset: number, target: number, length: number): number => {
    const known = files.get(key >>> 0);
    if (!known) return 0;
    try {
      const bytes = known.file.read(offset >>> 0, length >>> 0);
      if (bytes.length !== length >>> 0) return 0;
      pdfium.HEAPU8.set(bytes, target >>> 0);
      known.bytes += bytes.length;
      return 1;
    } catch {
      // pdfium says that the document is damaged; an error of ours must not go through its frames.
      return 0;
    }
  };
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(moduleBytes), { host: { read } });
  table.set(entry, exports.read);
  return (file) => {
    const pointer = malloc(accessSize);
    if (pointer === 0) throw new Error('pdfium has no memory left');
    // unsigned long m_FileLen; int (*m_GetBlock)(…); void* m_Param;
    const view = new DataView(pdfium.HEAPU8.buffer, pointer, accessSize);
    [file.size, entry, pointer].forEach((value, i) => void view.setUint32(4 * i, value, true));
    const known = { file, bytes: 0 };
    files.set(pointer, known);
    return {
      pointer,
      bytesRead: () => known.bytes,
      dispose: () => {
        files.delete(pointer);
        free(pointer);
      },
    };
  };
}
