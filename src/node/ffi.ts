import koffi, { type KoffiFunc } from 'koffi';

let configured = false;

/**
 * koffi, set up once before the first library is loaded: it runs native code on stacks of its own, ONNX Runtime needs more than
 * their default, and overflow is a segfault.
 */
export function ffi(): typeof koffi {
  if (!configured) koffi.config({ async_stack_size: 8 << 20, sync_stack_size: 8 << 20 });
  configured = true;
  return koffi;
}

/** A function of glibc by its prototype; undefined where there is no glibc, or it has none of that name. */
export function libcFunction<F extends (...args: never[]) => unknown>(prototype: string): KoffiFunc<F> | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    return ffi().load('libc.so.6').func(prototype) as KoffiFunc<F>;
  } catch {
    return undefined;
  }
}
