/**
 * Every public function and method with arguments that are right, for test/public-arguments.test.ts, which replaces them one by
 * one. The compiler asks for all options of each.
 */
import path from 'node:path';
import * as dino from 'dino-ts';
import { TINY_SETTINGS } from '#built/testing/tiny-run.js';
import { tensor } from 'dino-ts/torch';
/** An argument that is right, and the other kinds that may be right in its place. */
export interface Sample {
  value: unknown;
  also: readonly string[];
}
const or = (value: unknown, ...also: string[]): Sample => ({ value, also });
const isSample = (value: unknown): value is Sample =>
  typeof value === 'object' && value !== null && Object.keys(value).join() === 'value,also';
export const sampleOf = (value: unknown): Sample => (isSample(value) ? value : { value, also: [] });
export const plain = (value: unknown): unknown => sampleOf(value).value;

export interface Call {
  run: (...args: never[]) => unknown;
  /** Arguments of the right kinds, by name; with them the call ends soon. `options` is an object of options, all of them. */
  args: Record<string, unknown>;
  /** How many arguments must be there. */
  required: number;
}
const call = (run: (...args: never[]) => unknown, required: number, args: Record<string, unknown>): Call => ({
  ...{ run, args, required },
});

const nothing = (): void => undefined;
/** Samples of all options of T: the compiler asks for every one of them. */
const all = <T extends object>(samples: Record<keyof T, unknown>): Record<string, unknown> => samples;

/** What the calls are made with; `signal` is aborted, so that each ends soon. */
export interface Fixture {
  folder: string;
  signal: AbortSignal;
  model: dino.Model;
  index: dino.ImageIndex;
  classifier: dino.Classifier;
  fitted: dino.FitClassifierResult;
  segmenter: dino.Segmenter;
}

export function publicCalls(fixture: Fixture): Record<string, Call> {
  const { folder, signal, model, index, classifier, fitted, segmenter } = fixture;
  const at = (name: string): string => path.join(folder, name);
  const nearest = { exact: true, signal, onProgress: nothing };
  const nowhere = at('nowhere');
  const world = dino.World.alone();
  const job: dino.SlurmJob = {
    ...{ train: ['images'], run: 'run', command: ['dino'], folder, name: 'job', nodes: 1, gpus: 0, tasks: 1 },
    ...{ cpus: 1, time: '10', grace: 60, maxRestarts: 1, mem: null, partition: null, account: null },
    ...{ qos: null, constraint: null, comment: null, sbatch: [], setup: [] },
  };
  const nullable = ['mem', 'partition', 'account', 'qos', 'constraint', 'comment'];
  const jobSamples = Object.fromEntries(
    Object.entries(job).map(([name, value]) => [name, nullable.includes(name) ? or('10', 'null') : value]),
  );
  const tensors = new Map([['a', tensor([1])]]);
  const mask = new Uint8Array(4);
  const weights = at('run');
  const attentionResult = {
    ...{ heads: 1, rows: 1, columns: 1, patchSize: 2, width: 2, height: 2, image: new Uint8Array(12) },
    ...{ maps: new Float32Array(1), mean: new Float32Array(1), masks: null },
  };
  const labelled = { features: tensor([[1, 0]]), labels: [0] };
  const precision = { precision: 'fp32', onPrecision: nothing };
  const evalSizes = { resize: 36, crop: 32, batchSize: 4, numWorkers: 0, signal, onProgress: nothing };
  const facts = { device: 'cpu', cores: 1, memoryGiB: 1, images: 1, width: 1, height: 1, processes: 1 };
  return {
    'World.shared': call(world.shared.bind(world), 2, { what: 'it', make: nothing }),
    'World.onFirst': call(world.onFirst.bind(world), 1, { make: nothing }),
    'World.meet': call(world.meet.bind(world), 1, { what: 'it' }),
    'World.attempt': call(world.attempt.bind(world), 2, { rescue: nothing, work: nothing }),
    'Model.embed': call(model.embed.bind(model), 1, {
      images: or(nowhere, 'list'),
      options: all<dino.EmbedOptions>({ ...evalSizes, ...precision, features: 'cls', layers: 1, world }),
    }),
    'Model.embedBatches': call((...args) => model.embedBatches(...(args as [never])).next(), 1, {
      images: or(nowhere, 'list'),
      options: all<dino.EmbedOptions>({ ...evalSizes, ...precision, features: 'cls', layers: 1, world }),
    }),
    'Model.attention': call(model.attention.bind(model), 1, {
      image: nowhere,
      options: { imageSize: or(32, 'list'), maxPatches: 100, threshold: 0.5 },
    }),
    'ImageIndex.open': call(dino.ImageIndex.open.bind(dino.ImageIndex), 1, { folder: nowhere }),
    'ImageIndex.pathOf': call(index.pathOf.bind(index), 1, { row: 0 }),
    'ImageIndex.fileOf': call(index.fileOf.bind(index), 1, { row: 0 }),
    'ImageIndex.rowOf': call(index.rowOf.bind(index), 1, { file: nowhere }),
    'ImageIndex.transformed': call(index.transformed.bind(index), 1, {
      features: new Float32Array(index.width),
    }),
    'ImageIndex.feature': call(index.feature.bind(index), 1, { row: 0 }),
    'ImageIndex.search': call(index.search.bind(index), 2, {
      ...{ query: new Float32Array(24), k: 1, options: all<dino.NearestOptions>(nearest) },
    }),
    'ImageIndex.neighbours': call(index.neighbours.bind(index), 1, {
      ...{ k: 1, options: all<dino.NearestOptions>(nearest) },
    }),
    'ImageIndex.recall': call(index.recall.bind(index), 1, { sample: 1, onProgress: nothing }),
    PthFile: call((file) => new dino.PthFile(file), 1, { file: nowhere }),
    'PthFile.tensor': call(
      (description) => {
        using file = new dino.PthFile(at('weights.pth'));
        return file.tensor(description);
      },
      1,
      {
        description: new dino.PthTensor([1], 'float32', [1], 0, {
          key: '0',
          dtype: 'float32',
          length: 1,
          bytes: 4,
        }),
      },
    ),
    World: call(dino.joinWorld, 0, { options: all<dino.JoinWorldOptions>({ timeoutMs: 1000, env: {} }) }),
    Model: call(dino.loadModel, 1, {
      weights: nowhere,
      options: all<dino.LoadModelOptions>({
        checkpointKey: 'teacher',
        device: 'cpu',
        numHeads: 3,
        normalization: 'imagenet',
        backbone: nothing,
        onWarning: nothing,
      }),
    }),
    ImageIndex: call(dino.ImageIndex.open.bind(dino.ImageIndex), 1, { folder: nowhere }),
    'Classifier.predict': call(classifier.predict.bind(classifier), 1, {
      images: or(nowhere, 'list'),
      options: all<dino.PredictOptions>({ batchSize: 4, numWorkers: 0, signal, onProgress: nothing }),
    }),
    'Segmenter.segment': call(segmenter.segment.bind(segmenter), 1, { image: nowhere }),
    'Segmenter.segmentAll': call(segmenter.segmentAll.bind(segmenter), 2, {
      images: or(nowhere, 'list'),
      options: all<dino.SegmentOptions>({
        output: at('segmented'),
        overlays: true,
        signal,
        onProgress: nothing,
      }),
    }),
    Segmenter: call(dino.loadSegmenter, 1, {
      file: nowhere,
      options: all<dino.LoadSegmenterOptions>({ device: 'cpu', onWarning: nothing }),
    }),
    Classifier: call(dino.loadClassifier, 1, {
      file: nowhere,
      options: all<dino.LoadClassifierOptions>({ device: 'cpu', backbone: nothing, onWarning: nothing }),
    }),
    buildIndex: call(dino.buildIndex, 3, {
      model,
      images: nowhere,
      options: all<dino.BuildIndexOptions>({
        ...{
          ...evalSizes,
          ...precision,
          output: at('new'),
          features: 'cls',
          whiten: 'pca',
          mayRead: nothing,
          onRebuild: nothing,
          onWait: nothing,
          saveEvery: 1,
        },
        weights: { given: weights, checkpointKey: 'teacher', numHeads: 3 },
      }),
    }),
    applyWhitening: call(dino.applyWhitening, 2, {
      transform: { mode: 'none', mean: null, matrix: null },
      features: new Float32Array(2),
      width: 2,
    }),
    fitWhitening: call(dino.fitWhitening, 2, {
      ...{ features: Float32Array.of(1, 0, 0, 1), width: 2, whiten: 'center' },
    }),
    whitenEmbeddings: call(dino.whitenEmbeddings, 2, {
      model,
      result: {
        ...{ paths: ['a'], labels: [null], features: new Float32Array(2), shape: [1, 2], classes: null },
        ...{ skipped: [], leftOut: { count: 0 }, remarks: [] },
      },
      options: all<dino.WhitenOptions>({ ...evalSizes, whiten: 'pca', features: 'cls', layers: 1 }),
    }),
    checkOnnx: call(dino.checkOnnx, 3, {
      ...{ model, file: nowhere, options: { imageSize: [32, 32], batch: 1, isExact: true } },
    }),
    checkSettings: call(dino.checkSettings, 1, { settings: TINY_SETTINGS }),
    clusterIndex: call(dino.clusterIndex, 1, {
      index,
      options: all<dino.ClusterOptions>({
        ...{ clusters: 2, seed: 0, typical: 1, signal, onProgress: nothing, onWarning: nothing },
      }),
    }),
    contourAccuracy: call(dino.contourAccuracy, 4, { ...{ truth: mask, mask, width: 2, height: 2 } }),
    decodeImage: call(dino.decodeImage, 1, { input: nowhere, options: { maxSide: 64 } }),
    describeWeights: call(dino.describeWeights, 1, {
      weights,
      options: { checkpointKey: 'teacher', numHeads: 3, normalization: 'imagenet' },
    }),
    evaluateAttentionSegmentation: call(dino.evaluateAttentionSegmentation, 2, {
      model,
      options: all<dino.AttentionSegmentationOptions>({
        ...{ images: nowhere, masks: nowhere, threshold: 0.6, objects: 'each', imageSize: or(32, 'list') },
        ...{ signal, onProgress: nothing, onWarning: nothing },
      }),
    }),
    evaluateCopyDetection: call(dino.evaluateCopyDetection, 2, {
      model,
      options: all<dino.CopyDetectionOptions>({
        ...{ dataPath: nowhere, whiteningPath: nowhere, distractorsPath: nowhere, imsize: 32, batchSize: 4 },
        ...{ numWorkers: 0, signal, world, onProgress: nothing, onWarning: nothing },
      }),
    }),
    evaluateKnn: call(dino.evaluateKnn, 2, {
      model,
      options: all<dino.KnnOptions>({
        ...precision,
        ...{ ...evalSizes, train: nowhere, val: nowhere, k: [1], temperature: 0.07, dumpFeatures: nowhere },
        ...{ world, onWarning: nothing },
      }),
    }),
    evaluateKnnFeatures: call(dino.evaluateKnnFeatures, 1, {
      ...{ folder: nowhere, options: { k: [1], temperature: 0.07, onWarning: nothing, device: 'cpu' } },
    }),
    evaluateLinear: call(dino.evaluateLinear, 2, {
      model,
      options: all<dino.LinearOptions>({
        ...{
          ...evalSizes,
          train: nowhere,
          val: nowhere,
          epochs: 1,
          lr: 0.1,
          valFreq: 1,
          numLabels: 2,
          seed: 0,
        },
        ...{ nLastBlocks: 1, avgpoolPatchtokens: true, output: at('linear'), linearWeights: nowhere },
        ...{ onEpoch: nothing, onWarning: nothing },
      }),
    }),
    evaluateQuality: call(dino.evaluateQuality, 2, {
      model,
      options: all<dino.EvaluateQualityOptions>({
        ...{ ...evalSizes, images: or(nowhere, 'list'), against: model, views: 2, maxImages: 2, seed: 0 },
      }),
    }),
    evaluateRetrieval: call(dino.evaluateRetrieval, 2, {
      model,
      options: all<dino.RetrievalOptions>({
        ...{ dataPath: nowhere, dataset: 'roxford5k', imsize: 32, multiscale: true, cropQueries: true },
        ...{ batchSize: 4, numWorkers: 0, signal, world, onProgress: nothing },
      }),
    }),
    evaluateVideoSegmentation: call(dino.evaluateVideoSegmentation, 2, {
      model,
      options: all<dino.VideoSegmentationOptions>({
        ...{ data: nowhere, output: at('masks'), sequences: ['a'], size: 64, nLastFrames: 1, topk: 1 },
        ...{ sizeMaskNeighborhood: 1, measure: true, signal, onProgress: nothing, onWarning: nothing },
      }),
    }),
    exportClassifier: call(dino.exportClassifier, 2, {
      ...{ classifier, file: at('classifier.onnx') },
      options: all<dino.ExportClassifierOptions>({ imageSize: or(32, 'list'), dynamicSize: true }),
    }),
    modelCard: call(dino.modelCard, 1, {
      weights,
      options: all<dino.ModelCardOptions>({
        ...{ checkpointKey: 'teacher', numHeads: 3, normalization: 'imagenet' },
        ...{ format: 'onnx', file: 'model.onnx' },
        ...{ imageSize: or(32, 'list'), resize: 36, dynamicSize: true },
      }),
    }),
    writeModelCard: call(dino.writeModelCard, 2, { folder: at('card'), card: 'text' }),
    exportOnnx: call(dino.exportOnnx, 2, {
      ...{ model, file: at('model.onnx') },
      options: all<dino.OnnxOptions>({ imageSize: or(32, 'list'), dynamicSize: true, attention: true }),
    }),
    exportTransformers: call(dino.exportTransformers, 2, {
      ...{ model, folder: at('transformers') },
      options: all<dino.TransformersOptions>({
        imageSize: 32,
        resize: 36,
        dynamicSize: true,
        quantized: true,
      }),
    }),
    exportWeb: call(dino.exportWeb, 2, {
      ...{ model, folder: at('web') },
      options: all<dino.WebExportOptions>({
        ...{ images: nowhere, dtype: 'fp32', title: 'a page', whiten: 'pca', numWorkers: 0, signal },
        classifier,
        onProgress: nothing,
      }),
    }),
    exportWeights: call(dino.exportWeights, 2, {
      weights: nowhere,
      options: all<dino.ExportWeightsOptions>({
        ...{ format: 'pth', output: at('out.pth'), checkpointKey: 'teacher', withHead: true, imageSize: 32 },
        numHeads: 3,
        normalization: 'imagenet',
      }),
    }),
    fitClassifier: call(dino.fitClassifier, 2, {
      model,
      options: all<dino.FitClassifierOptions>({
        ...{
          ...evalSizes,
          images: nowhere,
          validation: nowhere,
          method: 'logistic',
          scaling: 'none',
          c: [1],
        },
        ...{ k: [1], classWeight: 'balanced', folds: 2, seed: 0, features: 'cls', layers: 1 },
        onWarning: nothing,
      }),
    }),
    fitSegmenter: call(dino.fitSegmenter, 2, {
      model,
      options: all<dino.FitSegmenterOptions>({
        ...{ images: nowhere, masks: nowhere, validationImages: nowhere, validationMasks: nowhere, size: 32 },
        ...{ classes: ['a', 'b'], ignore: or(255, 'null'), layers: 1, penalty: 0.1, folds: 2, seed: 0 },
        ...{ maxIterations: 1, signal, onProgress: nothing, onWarning: nothing },
      }),
    }),
    findDuplicates: call(dino.findDuplicates, 1, {
      index,
      options: all<dino.DuplicateOptions>({ ...nearest, threshold: 0.9, onWarning: nothing }),
    }),
    findFfmpeg: call(dino.findFfmpeg, 0, { environment: {} }),
    findOutliers: call(dino.findOutliers, 1, {
      index,
      options: all<dino.OutlierOptions>({ ...nearest, k: 1, top: 1 }),
    }),
    galleryOfIndex: call(dino.galleryOfIndex, 2, { index, model }),
    gatherFacts: call(dino.gatherFacts, 2, {
      images: [nowhere],
      machine: all<dino.MachineFacts>({ device: 'cpu', cores: 1, memoryGiB: 1, processes: 1 }),
    }),
    headJaccards: call(dino.headJaccards, 2, {
      attention: { heads: 1, rows: 1, columns: 1, patchSize: 2, masks: new Uint8Array(1) },
      truth: mask,
    }),
    jaccardScore: call(dino.jaccardScore, 1, { perImage: [[[1]]] }),
    joinWorld: call(dino.joinWorld, 0, {
      options: all<dino.JoinWorldOptions>({ timeoutMs: 1000, env: {} }),
    }),
    knnClassify: call(dino.knnClassify, 2, {
      ...{ train: labelled, test: labelled, options: { k: [1], temperature: 0.07, block: 10 } },
    }),
    labelImages: call(dino.labelImages, 3, { index, rows: [0], label: or('a label', 'null') }),
    labelledImages: call(dino.labelledImages, 1, { index }),
    launch: call(dino.launch, 1, {
      options: all<dino.LaunchOptions>({
        ...{
          command: ['true'],
          processes: 1,
          maxRestarts: 0,
          graceMs: 1000,
          env: {},
          signal,
          onNote: nothing,
        },
      }),
    }),
    layoutMap: call(dino.layoutMap, 1, { index, options: all<dino.MapOptions>({ ...nearest, seed: 0 }) }),
    listImages: call(dino.listImages, 1, {
      ...{ source: nowhere, options: { onProgress: nothing, mayRead: nothing, onlyLabelled: true } },
    }),
    listShardSource: call(dino.listShardSource, 1, {
      ...{ source: nowhere, options: { onProgress: nothing, mayRead: nothing, onlyLabelled: true } },
    }),
    listWatched: call(dino.listWatched, 1, { run: nowhere }),
    loadClassifier: call(dino.loadClassifier, 1, {
      file: nowhere,
      options: all<dino.LoadClassifierOptions>({ device: 'cpu', backbone: nothing, onWarning: nothing }),
    }),
    loadIndexModel: call(dino.loadIndexModel, 1, {
      index,
      options: { device: 'cpu', weights: nowhere, onWarning: nothing },
    }),
    loadModel: call(dino.loadModel, 1, {
      weights: nowhere,
      options: all<dino.LoadModelOptions>({
        checkpointKey: 'teacher',
        device: 'cpu',
        numHeads: 3,
        normalization: 'imagenet',
        backbone: nothing,
        onWarning: nothing,
      }),
    }),
    loadSegmenter: call(dino.loadSegmenter, 1, {
      file: nowhere,
      options: all<dino.LoadSegmenterOptions>({ device: 'cpu', onWarning: nothing }),
    }),
    machineFacts: call(dino.machineFacts, 1, { device: 'cpu' }),
    makeMap: call(dino.makeMap, 1, { index, options: all<dino.MapOptions>({ ...nearest, seed: 0 }) }),
    openWeights: call(dino.openWeights, 1, { file: nowhere }),
    patchPca: call(dino.patchPca, 2, {
      ...{ model, images: [nowhere] },
      options: all<dino.PatchPcaOptions>({
        ...{ imageSize: or(32, 'list'), maxPatches: 100, foreground: true, signal, onProgress: nothing },
      }),
    }),
    placeFromEnvironment: call(dino.placeFromEnvironment, 0, { env: {} }),
    proposeLabels: call(dino.proposeLabels, 2, {
      index,
      options: all<dino.ProposeOptions>({ ...nearest, labels: new Map([[0, 'a']]), certainty: 0.5 }),
    }),
    putImages: call(dino.putImages, 2, {
      ...{
        groups: { a: [nowhere] },
        options: all<dino.PutOptions>({ folder: at('put'), how: 'copy', within: at('') }),
      },
    }),
    readFrame: call(dino.readFrame, 2, { image: { folder: nowhere, rows: 1, columns: 1 }, step: 1 }),
    readLabels: call(dino.readLabels, 1, { index }),
    readMap: call(dino.readMap, 1, { index }),
    readPickle: call(dino.readPickle, 2, {
      ...{
        bytes: mask,
        where: 'it',
        options: all<dino.PickleOptions>({ globals: new Map(), persistent: nothing, onUnknown: nothing }),
      },
    }),
    readSafetensors: call(dino.readSafetensors, 1, { file: nowhere }),
    readSafetensorsHeader: call(dino.readSafetensorsHeader, 1, { file: nowhere }),
    regionSimilarity: call(dino.regionSimilarity, 2, { truth: mask, mask }),
    resolveSettings: call(dino.resolveSettings, 0, {
      options: all<dino.ResolveOptions>({
        ...{
          file: {},
          fileName: 'a file',
          flags: {},
          problems: ['wrong'],
          preset: 'paper',
          steps: 10,
          facts,
          weights: {},
        },
      }),
    }),
    saveClassifier: call(dino.saveClassifier, 2, { classifier, file: at('classifier.safetensors') }),
    saveSegmenter: call(dino.saveSegmenter, 2, { segmenter, file: at('segmenter.safetensors') }),
    saveEvaluation: call(dino.saveEvaluation, 3, { weightsFile: weights, name: 'knn', result: {} }),
    searchIndex: call(dino.searchIndex, 2, {
      index,
      options: all<dino.SearchOptions>({
        ...{ ...nearest, plus: [0], minus: [1], region: [0, 0, 1, 1], top: 3, model: or(model, 'function') },
      }),
    }),
    selectImages: call(dino.selectImages, 2, {
      index,
      options: all<dino.SelectOptions>({ ...nearest, size: 2, by: 'both', labelled: [0], seed: 0 }),
    }),
    sequenceStatistics: call(dino.sequenceStatistics, 1, { perFrame: [1] }),
    settingsOfCheckpoint: call(dino.settingsOfCheckpoint, 1, {
      file: nowhere,
      options: all<NonNullable<Parameters<typeof dino.settingsOfCheckpoint>[1]>>({
        ...{ numHeads: 3, onWarning: nothing },
      }),
    }),
    settingsOfInit: call(dino.settingsOfInit, 1, {
      settings: { init: nowhere, numHeads: 3 },
      onWarning: nothing,
    }),
    slurmScript: call(dino.slurmScript, 1, { options: jobSamples }),
    startStudio: call(
      async (...args) => {
        const studio = await dino.startStudio(...(args as [never]));
        await studio.close();
      },
      0,
      { options: all<dino.StudioOptions>({ folders: [folder], port: 0, host: '127.0.0.1' }) },
    ),
    submitSlurmJob: call(dino.submitSlurmJob, 2, {
      ...{ job, script: at('job.sh'), submit: or(false, 'text') },
    }),
    train: call(dino.train, 1, {
      options: all<dino.TrainOptions>({
        // settings without `arch: 'custom'` and a builder: refused once all else was looked at
        ...{
          images: nowhere,
          output: at('trained'),
          settings: TINY_SETTINGS,
          backbone: nothing,
          extensions: [],
          startedAt: 0,
          resume: false,
        },
        ...{ world, signal, onEvent: nothing },
      }),
    }),
    writeAttention: call(dino.writeAttention, 2, {
      ...{ result: attentionResult, folder: at('maps'), options: { threshold: 0.6 } },
    }),
    writeAttentionVideo: call(dino.writeAttentionVideo, 3, {
      ...{ model, input: or(nowhere, 'list') },
      options: all<dino.AttentionVideoOptions>({
        ...{
          output: at('video.mp4'),
          show: 'map',
          threshold: 0.5,
          fps: 5,
          imageSize: or(32, 'list'),
          maxPatches: 100,
        },
        ...{ head: or('mean', 'number'), colours: 'inferno', ffmpeg: nowhere, signal },
        ...{ onProgress: nothing, onWarning: nothing },
      }),
    }),
    writeClassifierReport: call(dino.writeClassifierReport, 2, { file: at('report.html'), result: fitted }),
    writeFeatures: call(dino.writeFeatures, 2, {
      file: at('features.npy'),
      result: { paths: ['a'], labels: [null], features: new Float32Array(2), shape: [1, 2], classes: null },
    }),
    writeList: call(dino.writeList, 2, { file: at('list.txt'), images: [nowhere] }),
    writePatchPca: call(dino.writePatchPca, 2, {
      image: { columns: 1, patchSize: 2, width: 2, height: 2, colours: new Uint8Array(3) },
      folder: at('pca'),
    }),
    writePredictions: call(dino.writePredictions, 2, {
      file: at('predictions.csv'),
      result: { predictions: [], classes: ['a', 'b'], skipped: [] },
    }),
    writePth: call(dino.writePth, 2, {
      ...{
        file: at('out.pth'),
        value: or(tensors, 'number', 'text', 'list', 'boolean', 'null', 'any number or text'),
        attributes: { a: 'b' },
      },
    }),
    writeSafetensors: call(dino.writeSafetensors, 2, {
      ...{ file: at('out.safetensors'), tensors: or(tensors, 'object'), metadata: { a: 'b' } },
    }),
    writeShards: call(dino.writeShards, 2, {
      source: nowhere,
      options: all<dino.WriteShardsOptions>({
        ...{ output: at('shards'), shardSize: 20_000, shuffle: 1, signal, onImage: nothing },
        ...{ onProgress: nothing, mayRead: nothing, onWait: nothing },
      }),
    }),
  };
}
