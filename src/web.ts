export {
  AbortedError,
  InputError,
  RuntimeUnavailableError,
  ShapeError,
  VaryclipError,
  WeightsError,
} from './core/errors.js';
export type { Tensor } from './core/tensor.js';
export { blipTransform, processHigh, testTransform } from './image/high-processor.js';
export type { Look, Pixels } from './image/pixels.js';
export type { VaryModel } from './infer/model.js';
export type { ReadOptions, ReadResult } from './infer/reading.js';
export { createTokenizer, type Tokenizer } from './text/tokenizer.js';
export { type FetchFile, type FetchFilesOptions, fetchFiles } from './web/files.js';
export { decodeImage } from './web/images.js';
export { loadModel, type WebLoadOptions } from './web/load-model.js';
export { createWebRuntime, type WebRuntimeOptions } from './web/runtime.js';
export { openSafetensors, writeSafetensors } from './weights/safetensors.js';
export { memorySource } from './weights/source.js';
