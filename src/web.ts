export { InputError, ShapeError, VaryclipError, WeightsError } from './core/errors.js';
export type { Tensor } from './core/tensor.js';
export { blipTransform, processHigh, testTransform } from './image/high-processor.js';
export type { Pixels } from './image/pixels.js';
export { createTokenizer, type Tokenizer } from './text/tokenizer.js';
export { openSafetensors, writeSafetensors } from './weights/safetensors.js';
export { memorySource } from './weights/source.js';
