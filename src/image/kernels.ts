import { messageOf, VaryclipError } from '../core/errors.js';
import { code } from './kernels-wasm.js';

/** What kernels/pixels.ts exports: addresses are bytes of its memory. */
export interface Kernels {
  readonly memory: { readonly buffer: ArrayBuffer; grow(pages: number): number };
  grayOfRgb(rgb: number, gray: number, count: number): void;
  histogram(levels: number, length: number, step: number, bins: number): void;
  darken(levels: number, length: number, paper: number, step: number): void;
  cutAt(levels: number, length: number, limit: number): void;
  findRuns(mask: number, width: number, rows: number, first: number, runs: number): number;
  resizeBytes(plane: number, width: number, y: number, x: number, row: number, out: number): void;
  resizeFloats(plane: number, width: number, y: number, x: number, row: number, out: number): void;
  roundToBytes(plane: number, length: number, bytes: number): void;
  sharpness(
    x: number,
    y: number,
    points: number,
    stride: number,
    slope: number,
    reach: number,
    bins: number,
    length: number,
  ): number;
  weighPixels(row: number, starts: number, weights: number, taps: number, length: number, out: number): void;
  weighRows(rows: number, length: number, weights: number, taps: number, out: number): void;
  unfilter(rows: number, height: number, rowBytes: number, pixelBytes: number): number;
  toRgb(rows: number, width: number, height: number, samples: number, out: number): void;
  straighten(levels: number, width: number, height: number, sin: number, cos: number, out: number): void;
}

/** Kernels, and parts of their memory to work in until somebody asks again. */
export interface Workplace {
  readonly kernels: Kernels;
  readonly buffer: ArrayBuffer;
  /** Where each part begins. */
  readonly at: readonly number[];
}

const pageBytes = 65536;
/** Of what is behind a part kernels read so many bytes. */
const slack = 32;
/** A memory does not shrink; one of more bytes than this goes when little of it is asked for. */
const mostKept = 32 << 20;

let compiled: WebAssembly.Module | undefined;
let loaded: Kernels | undefined;

/** What needs memory. Throws VaryclipError where there is none for WebAssembly. */
function expectMemory<T>(task: () => T): T {
  try {
    return task();
  } catch (cause) {
    throw new VaryclipError(
      `images: WebAssembly has no memory: ${messageOf(cause)}; V8 reserves 10 GB of addresses for each thread: raise ulimit -v, or give node --disable-wasm-trap-handler`,
      { cause },
    );
  }
}

function instantiate(): Kernels {
  compiled ??= new WebAssembly.Module(Uint8Array.from(atob(code), (byte) => byte.charCodeAt(0)));
  return new WebAssembly.Instance(compiled).exports as Kernels;
}

/** The kernels with parts of memory of so many bytes each. What is in them is anything. Throws VaryclipError where there is no memory. */
export function workIn(...sizes: readonly number[]): Workplace {
  let end = slack;
  const at = sizes.map((size) => {
    const start = end;
    end = start + slack * Math.ceil((size + slack) / slack);
    return start;
  });
  const kept = loaded?.memory.buffer.byteLength ?? 0;
  if (!loaded || (kept > mostKept && end < kept / 4)) loaded = expectMemory(instantiate);
  const { memory } = loaded;
  const missing = Math.ceil((end - memory.buffer.byteLength) / pageBytes);
  if (missing > 0) expectMemory(() => memory.grow(missing));
  return { kernels: loaded, buffer: memory.buffer, at };
}
