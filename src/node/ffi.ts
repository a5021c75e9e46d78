import koffi from 'koffi';

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
