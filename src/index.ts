export {
  AbortedError,
  DownloadError,
  InputError,
  RuntimeUnavailableError,
  ShapeError,
  VaryclipError,
  WeightsError,
} from './core/errors.js';
export type { Tensor } from './core/tensor.js';
export type { Pixels } from './image/pixels.js';
export type { ForwardInput, ForwardOutput } from './infer/forward.js';
export type { FinishReason, GenerateOptions } from './infer/generate.js';
export type { GenerateInput, OptModel, ReadOptions, ReadResult } from './infer/model.js';
export type { Precision } from './infer/quantize.js';
export { type PulledModel, type PullOptions, pullModel } from './node/hub/pull.js';
export { type LoadOptions, loadModel, type Model, type NodeVaryModel } from './node/load-model.js';
export { type QuantizedCheckpoint, type QuantizeOptions, quantizeCheckpoint } from './node/quantize.js';
