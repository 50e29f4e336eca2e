/**
 * The public API. `import { train, loadModel } from 'dino-ts'`; tensors and operators are under 'dino-ts/torch'.
 */
import './plain/disposal.js';
export { packageVersion } from './version.js';
export {
  CheckpointError,
  ConfigError,
  DataError,
  DinoError,
  EngineError,
  ProcessError,
  ShapeError,
} from './errors.js';

// training
export type { TrainOptions } from './train/options.js';
export { train } from './train/train.js';
export { joinWorld, type JoinWorldOptions } from './processes/join-world.js';
export { World } from './processes/world.js';
export { placeFromEnvironment, type Launcher, type Place } from './processes/place.js';
export { launch, type Ended, type LaunchOptions } from './processes/launch.js';
export { slurmScript, submitSlurmJob, type SlurmJob, type SubmittedJob } from './train/slurm.js';
export {
  Backbone,
  type BackboneFactory,
  type BackboneOptions,
  type NormalizationName,
} from './models/index.js';
export type { StepMetrics, TrainEvent, TrainResult } from './train/events.js';
export { listWatched, readFrame, type FilmFrame, type WatchedImage } from './run/film-folder.js';
export { checkSettings } from './train/config.js';
export { type PartialSettings, type TrainSettings } from './run/settings.js';
export {
  PAPER,
  resolveSettings,
  type Choice,
  type MachineFacts,
  type PresetName,
  type Resolved,
  type ResolveOptions,
  type TrainFacts,
} from './train/presets.js';
export { settingsOfInit, type InitSettings } from './train/init.js';
export { settingsOfCheckpoint } from './train/official-checkpoint.js';
export { gatherFacts, machineFacts } from './train/facts.js';

// images
export { decodeImage } from './data/read/decode-image.js';
export {
  type EncodedImage,
  type ImageBytes,
  listImages,
  listShardSource,
  type ImageItem,
  type ImageItems,
  type ImageList,
  type LeftOut,
  type ListNotes,
  type ListOptions,
  type RgbImage,
  type ShardList,
  type UnreadablePlace,
  writeShards,
  type WriteShardsOptions,
  type WriteShardsResult,
} from './data/index.js';

// using a trained model
export { loadModel, Model, type LoadModelOptions } from './model.js';
export { describeWeights, type WeightsDescription } from './weights/describe.js';
export {
  readSafetensors,
  readSafetensorsHeader,
  writeSafetensors,
  type SafetensorsFile,
  type SafetensorsHeader,
} from './weights/safetensors.js';
export type { WeightsEntry, WeightsFile } from './weights/weights-entry.js';
export { openWeights } from './weights/weights-file.js';
export { PthFile, PthTensor } from './weights/pth.js';
export { writePth, type PthValue } from './weights/pth-write.js';
export { hubModels, type HubModel } from './weights/hub.js';
export { dinoV3HubModels, type DinoV3HubModel } from './weights/hub-dinov3.js';
export {
  exportWeights,
  type ExportWeightsOptions,
  type ExportWeightsResult,
} from './weights/export-weights.js';
export { readPickle, type PickleOptions } from './weights/pickle.js';
export { NumpyArray, PickleNamespace, PickleOpaque } from './weights/pickle-values.js';
export { exportOnnx, type OnnxExport, type OnnxOptions } from './export/onnx/export-onnx.js';
export {
  exportTransformers,
  type TransformersExport,
  type TransformersOptions,
} from './export/transformers/export-transformers.js';
export { exportWeb, type WebExport, type WebExportOptions } from './export/web/export-web.js';
export type { WebClassifierSource } from './export/web/classifier.js';
export type { GallerySource } from './export/web/gallery.js';
export { checkOnnx, type OnnxCheck } from './export/onnx/check.js';
export type { CardFormat } from './export/card-sizes.js';
export { modelCard, writeModelCard, type ModelCardOptions } from './export/model-card.js';
export type { Architecture } from './weights/architecture.js';
export type { EmbedBatch, Embeddings, EmbedOptions, ImageSource } from './eval/embed.js';
export type { ChosenPrecision } from './eval/feature-precision.js';
export type { Precision, PrecisionChoice } from './plain/precisions.js';
export type { FeatureKind } from './eval/features.js';
export { writeFeatures } from './eval/write-features.js';
export {
  applyWhitening,
  fitWhitening,
  whitenEmbeddings,
  type FeatureWhitening,
  type WhitenedEmbeddings,
  type WhitenOptions,
} from './eval/whiten-embeddings.js';
export type { FeatureTransform, TransformMode, WhitenChoice } from './plain/feature-transform.js';
export {
  evaluateAttentionSegmentation,
  type AttentionSegmentationOptions,
  type AttentionSegmentationResult,
} from './eval/attention-segmentation.js';
export { headJaccards, jaccardScore, type HeadMasks, type JaccardScore } from './eval/jaccard.js';
export {
  evaluateVideoSegmentation,
  type ObjectScore,
  type SequenceScore,
  type VideoSegmentationOptions,
  type VideoSegmentationResult,
} from './eval/video-segmentation.js';
export {
  contourAccuracy,
  regionSimilarity,
  sequenceStatistics,
  type SequenceStatistics,
} from './eval/davis-measures.js';
export {
  evaluateKnn,
  evaluateKnnFeatures,
  knnClassify,
  type KnnOptions,
  type KnnResult,
  type KnnScore,
  type KnnScores,
} from './eval/knn.js';
export { evaluateQuality, type EvaluateQualityOptions, type QualityResult } from './eval/quality.js';
export type { QualityMeasures } from './eval/quality-of-networks.js';
export type { MeasureName, Verdict as QualityVerdict } from './plain/quality.js';
export { evaluateLinear, type LinearEpoch, type LinearOptions, type LinearResult } from './eval/linear.js';
export {
  evaluateCopyDetection,
  type CopyDetectionOptions,
  type CopyDetectionResult,
  type CopyScores,
} from './eval/copy-detection.js';
export {
  evaluateRetrieval,
  type RetrievalOptions,
  type RetrievalResult,
  type RetrievalScores,
} from './eval/retrieval.js';
export { saveEvaluation, type EvaluationName } from './eval/save-evaluation.js';
export { writeAttention, type AttentionOptions, type AttentionResult } from './explain/attention.js';
export {
  writeAttentionVideo,
  type AttentionVideoOptions,
  type AttentionVideoResult,
  type VideoPicture,
} from './explain/video.js';
export {
  patchPca,
  writePatchPca,
  type PatchPcaOptions,
  type PatchPcaResult,
  type PcaImage,
} from './explain/patch-pca.js';
export { findFfmpeg } from './explain/ffmpeg.js';

// classifiers from few labels
export {
  fitClassifier,
  type ClassifierMethod,
  type FitClassifierOptions,
  type FitClassifierResult,
} from './classify/fit-classifier.js';
export {
  Classifier,
  type ClassifierOrigin,
  type HeadFeatures,
  type Prediction,
  type PredictOptions,
  type PredictResult,
} from './classify/classifier.js';
export { loadClassifier, saveClassifier, type LoadClassifierOptions } from './classify/classifier-file.js';
export {
  exportClassifier,
  type ClassifierExport,
  type ExportClassifierOptions,
} from './classify/export-classifier.js';
export { writePredictions } from './classify/write-predictions.js';
export { writeClassifierReport } from './classify/report-page.js';
export type { ClassifierReport, ClassScore, Mistake, ShareEstimate } from './classify/report.js';
export type { CalibrationBin } from './classify/calibration.js';
export type { Trial as ClassifierTrial } from './classify/cross-validate.js';
export type { Scaling as ClassifierScaling } from './classify/scaling.js';
export type { ClassifierHead, LinearHead, MeasuredAccuracy, NeighbourHead } from './plain/classifier-head.js';

// segmenters from few masks
export { fitSegmenter, type FitSegmenterOptions, type FitSegmenterResult } from './segment/fit-segmenter.js';
export {
  Segmenter,
  type SegmentClass,
  type Segmentation,
  type SegmenterHead,
  type SegmentOptions,
  type SegmentResult,
} from './segment/segmenter.js';
export { loadSegmenter, saveSegmenter, type LoadSegmenterOptions } from './segment/segmenter-file.js';
export type { SegmentClassScore, SegmentReport } from './segment/scores.js';

// the studio
export { startStudio, type RunningStudio, type StudioOptions } from './studio/index.js';

// finding one's way in a folder of images
export {
  buildIndex,
  clusterIndex,
  findDuplicates,
  findOutliers,
  ImageIndex,
  layoutMap,
  loadIndexModel,
  makeMap,
  proposeLabels,
  putImages,
  readMap,
  searchIndex,
  selectImages,
  writeList,
  type BuildIndexOptions,
  type BuildIndexResult,
  type Cluster,
  type Clustering,
  type ClusterOptions,
  type DuplicateGroup,
  type DuplicateOptions,
  type ImageGroups,
  type IndexedImage,
  type IndexFeatures,
  type IndexManifest,
  type MapOptions,
  type Match,
  type NearestOptions,
  type NearestRows,
  type Outlier,
  type OutlierOptions,
  type Proposal,
  type ProposeOptions,
  type PutOptions,
  type Region,
  type SearchOptions,
  type SelectBy,
  type SelectOptions,
  galleryOfIndex,
  labelledImages,
  type IndexLabels,
  labelImages,
  readLabels,
} from './explore/index.js';

// the set-up
export { runDoctor, type DoctorReport } from './doctor/doctor.js';
