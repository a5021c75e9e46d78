export {
  AbortedError,
  DownloadError,
  InputError,
  LockedError,
  RuntimeUnavailableError,
  ShapeError,
  VaryclipError,
  WeightsError,
} from './core/errors.js';
export type { Tensor } from './core/tensor.js';
export { prefetch, type TrainingBatch } from './data/batches.js';
export type { Pixels } from './image/pixels.js';
export type { ClipForwardInput, ClipForwardOutput } from './infer/clip-forward.js';
export type { Located, TextEmbeds, TextOptions } from './infer/clip-model.js';
export type { ForwardOutput } from './infer/forward.js';
export type { FinishReason, GenerateOptions } from './infer/generate.js';
export type { Classification, LabelOptions } from './infer/labels.js';
export type { GenerateInput, OptModel } from './infer/model.js';
export type { Precision, TowerPrecision } from './infer/quantize.js';
export type { ReadOptions, ReadResult } from './infer/reading.js';
export type { Retried } from './infer/retries.js';
export type { ForwardInput } from './models/forward-inputs.js';
export { type CheckDataOptions, checkData, type DataReport } from './node/data/check-data.js';
export {
  type DataSet,
  openTrainingData,
  type TrainingData,
  type TrainingDataOptions,
} from './node/data/training-data.js';
export { type PulledModel, type PullOptions, pullModel } from './node/hub/pull.js';
export type { NodeClassifier, NodeClipModel } from './node/load-clip.js';
export { type LoadOptions, loadModel, type Model, type NodeOptModel, type NodeVaryModel } from './node/load-model.js';
export { joinMpi, type MpiPeers } from './node/mpi.js';
export { type QuantizedCheckpoint, type QuantizeOptions, quantizeCheckpoint } from './node/quantize.js';
export type { StoreChoice } from './node/search/open-store.js';
export {
  type DuplicateGroup,
  type DuplicateOptions,
  type IndexUpdateOptions,
  type IndexUpdateReport,
  type OpenIndexOptions,
  openIndex,
  type PictureIndex,
  type SearchHit,
  type SearchOptions,
  type SearchQuery,
} from './node/search/picture-index.js';
export type { UpdateOptions, UpdateReport } from './node/search/update-index.js';
export type { Shard } from './node/shard.js';
export {
  createModelTrainer as createTrainer,
  type ModelTrainer,
  type ModelTrainerOptions,
  type TrainingDataset,
  type TrainRunOptions,
} from './node/training/model-trainer.js';
export type { Condition } from './search/conditions.js';
export { type FuseOptions, fuseRankings } from './search/fuse.js';
export type { PictureInfo } from './search/picture.js';
export type { PromptStyle } from './text/prompt-style.js';
export type { ReadingBatch } from './train/tasks.js';
export { NotFiniteError, type StepResult } from './train/trainer.js';
