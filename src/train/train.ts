/**
 * The training loop (reference: main_dino.py train_dino and train_one_epoch), from top to bottom. Differences: crops arrive
 * as uint8 and are normalized on the device, a checkpoint is exact to the step, and a problem with data, numbers or disk
 * stops the run with the last good state saved.
 */
import { availableParallelism } from 'node:os';
import { setImmediate as eventLoopTurn } from 'node:timers/promises';
import { checkSettings } from './config.js';
import { checkCall } from '../plain/check-options.js';
import { type ImageItems, MultiCropLoader, stepSeed, type AugmentationSettings } from '../data/index.js';
import {
  CollapseMonitor,
  DataParallel,
  dinoStep,
  monitorPatience,
  queueStep,
  UnreadSteps,
} from '../dino/index.js';
import { ConfigError, DataError, DinoError, ProcessError } from '../errors.js';
import { FolderLostError, type FolderLock, lockFolder } from '../files/folder-lock.js';
import { normalizeImages, pixelTensor } from '../models/index.js';
import { backboneShare, layerRates } from '../optim/index.js';
import { printable } from '../plain/printable.js';
import { shellPath } from '../plain/shell.js';
import { hasStreams, isIdle, scope, setNumThreads, type Tensor } from '../torch/index.js';
import { AttentionFilm } from './attention-film.js';
import { buildTraining } from './build-training.js';
import { loadCheckpoint } from './checkpoint.js';
import { bestPath, newestWholeCheckpoint } from '../run/checkpoint-files.js';
import { CheckpointWriter } from './checkpoint-writer.js';
import { Course } from './course.js';
import { decodedCacheBytes } from '../run/settings.js';
import type { StepMetrics, TrainEvent, TrainResult } from './events.js';
import { gatherFacts, machineFacts } from './facts.js';
import { TrainingJudge } from './judge-during-training.js';
import { evaluateDuringTraining, isKnnDue, knnCutShort, lacksKnn } from './knn-during-training.js';
import { initialise } from './init.js';
import { loadOfficialCheckpoint } from './official-checkpoint.js';
import { openRun } from './open-run.js';
import { notFinite } from './not-finite.js';
import { withMemoryAdvice } from './out-of-memory.js';
import { type TrainOptions, trainOptions } from './options.js';
import type { Pace } from './pace.js';
import { metricsPath, skippedPath, truncateLog } from '../run/run-folder.js';
import { changedLength } from './run-length.js';
import { RunLog } from './run-log.js';
import { keepingState, saveAsHeir } from './rescue.js';
import { shareState } from './share-state.js';
import { Trackers } from './trackers/trackers.js';
import { World } from '../processes/world.js';
import { recordOfRun } from '../weights/record.js';
import { loggedBefore, reportUnreadable } from './unreadable.js';
import { warningsOfChannels } from './settle-channels.js';
import { whitenPatches } from './whiten-patches.js';
import { WorkerCount } from './worker-count.js';

/**
 * Trains a model with DINO.
 *
 * @throws ConfigError for settings that are wrong, DataError for images or an output that can't be used (also when more
 *   than `maxBadShare` of the images can't be read), CheckpointError when a checkpoint can't be written or doesn't fit,
 *   EngineError for a device that doesn't exist, DinoError (NOT_FINITE) for a loss that is no longer finite, ProcessError
 *   (an EngineError) when another process was lost or failed, FolderLostError (a DataError) when `output` was moved, deleted
 *   or taken over during training, and the signal's reason when it is aborted while waiting for the folder.
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  checkCall('train()', ['options', trainOptions, options]);
  if (options.settings !== undefined) checkSettings(options.settings);
  const { output, signal, resume = false, startedAt = performance.now() } = options;
  let pace: Pace | null = null;
  let trackers: Trackers | null = null;
  let isDone = false;
  const emit = (event: TrainEvent): void => {
    pace?.observe(event);
    trackers?.observe(event);
    options.onEvent?.(event);
  };
  const world = options.world ?? World.alone();
  const warn = (message: string): void => emit({ type: 'warning', message });
  const metricsLog = new RunLog(metricsPath(output), warn);
  const skippedLog = new RunLog(skippedPath(output), warn);
  let lock: FolderLock | null = null;
  try {
    if (world.isFirst) lock = await lockFolder(output, { isRestart: world.isRestart, signal, onWait: warn });
    // ============ settings, images ============
    const opened = await openRun(options, world);
    const { settings, images, changes, planned, extensions, time, isGuess, precisionReason, measured } =
      opened;
    if (world.isFirst) reportUnreadable(images, { output, resume }, emit);
    const { device, precision } = settings;
    if (precisionReason !== null) emit({ type: 'precision', precision, reason: precisionReason });
    const { channels, mean, std } = settings;
    if (channels !== undefined && mean !== undefined && std !== undefined)
      emit({ type: 'channels', channels, mean, std, measured });
    if (measured !== null && world.isFirst) warningsOfChannels(measured).forEach(warn);
    const batchSize = settings.batchSize * world.size; // of all processes together
    const stepsPerEpoch = Math.floor(images.items.length / batchSize); // a last, smaller batch is dropped

    // ============ student, teacher, loss, optimizer ============
    setNumThreads(settings.threads);
    const { state, buildTeacherBackbone } = buildTraining(settings, precision, options.backbone);
    const { student, teacher, optimizer, loss: dinoLoss, generators } = state;
    // the host reads a GPU's results only for a line of metrics, but the scale of float16's losses depends on each
    const unread = hasStreams(device) && precision !== 'fp16' ? new UnreadSteps(state) : null;
    const newest = resume && world.isFirst ? newestWholeCheckpoint(output, warn) : null;
    if (newest === null && world.isFirst) {
      initialise(student, settings);
      if (settings.patchInit === 'whitened') {
        const found = await whitenPatches(student.backbone, settings, images.items, { generators, signal });
        emit({ type: 'whitened', ...found });
      }
    }
    state.lowRank?.begin();
    teacher.loadStateDict(student.stateDict()); // both start with the same weights
    const parameters = state.lowRank?.parametersOf(student) ?? [...student.namedParameters()];
    const rates = layerRates(
      parameters.map(([name]) => name),
      settings,
    );
    const { epochs } = settings;
    // every training starts at ln K, so it counts as a collapse only if it lasts
    const monitor = new CollapseMonitor({
      outDim: settings.outDim,
      patience: monitorPatience(stepsPerEpoch),
    });

    // ============ where to continue ============
    let step = 0; // steps done
    if (newest !== null) step = loadCheckpoint(newest, state);
    else if (settings.resumeFrom !== undefined && world.isFirst) {
      const done = loadOfficialCheckpoint(settings.resumeFrom, state);
      if (done >= epochs)
        throw new ConfigError(
          `${settings.resumeFrom} was saved after epoch ${done}: --epochs ${epochs} leaves none`,
        );
      step = done * stepsPerEpoch;
    }
    opened.record(); // not before: a run that can't begin with its weights leaves no folder to resume
    step = await shareState(world, state, step);

    // ============ schedules ============
    const course = new Course({
      ...{
        run: output,
        settings,
        sizes: { batchSize, stepsPerEpoch },
        planned,
        extensions,
        time,
        startedAt,
        step,
      },
      ...{ world, warn },
    });
    ({ pace } = course);
    if (resume) await course.extend(isGuess);
    const { length } = course;
    changes.push(...changedLength({ run: output, planned, length, time, step, stepsPerEpoch }));
    if (world.group !== null) state.parallel = new DataParallel(world.group, student, teacher);
    if (resume && world.isFirst) truncateLog(metricsPath(output), step);
    const film = await world.onFirst(() =>
      AttentionFilm.open({
        ...{ run: output, settings, backbone: teacher.backbone, items: images.items, step, warn },
      }),
    );
    if (world.isFirst) trackers = new Trackers({ run: output, settings, step, warn });
    const skipped = new Set<string>(); // in this session
    const logged = resume && world.isFirst ? loggedBefore(output) : new Set();
    const told = new Set(images.remarks);
    const keep = { last: settings.keepCheckpoints, everyEpochs: settings.saveckpFreq, stepsPerEpoch };
    const record = recordOfRun(teacher.backbone, settings);
    await using checkpoints = world.isFirst // waits for the last one
      ? new CheckpointWriter({ run: output, state, keep, record, emit })
      : null;
    // if the folder was moved, the state is saved to its new place once, and training ends
    const checkFolder = async (line?: StepMetrics): Promise<void> => {
      try {
        lock?.check();
      } catch (error) {
        if (!(error instanceof FolderLostError) || error.movedTo === null || checkpoints === null)
          throw error;
        metricsLog.moveTo(metricsPath(error.movedTo));
        skippedLog.moveTo(skippedPath(error.movedTo));
        if (line !== undefined) metricsLog.add(line);
        checkpoints.moveTo(error.movedTo);
        await checkpoints.save(step);
        const saved = printable(await checkpoints.settle());
        const advice = `Continue with: dino train --resume ${shellPath(error.movedTo)}`;
        throw new DataError(`${error.message} The state after step ${step} is saved in ${saved}. ${advice}`, {
          cause: error,
        });
      }
    };
    let savedAt = step;
    const save = async (isBest = false): Promise<void> => {
      await checkFolder();
      await checkpoints?.save(step, isBest ? ['step', 'best'] : ['step']);
      savedAt = step;
      film?.record(step);
      course.keepTime();
    };
    let lastMetrics: StepMetrics | null = null;
    let lastLoss: number | null = null;
    /** Reads what is left unread. @returns Whether all steps were finite; else `step` is that of the last that was. */
    const settle = (): boolean => {
      if (unread === null || unread.isEmpty) return true;
      const { undone, loss } = unread.read();
      step -= undone;
      if (undone === 0) lastLoss = loss;
      return undone === 0;
    };
    /** Saves the state, which is that before the step that is not finite, and ends the training. */
    const endNotFinite = async (): Promise<never> => {
      await save();
      throw new DinoError('NOT_FINITE', notFinite(step, settings, output));
    };
    const rescue = async (): Promise<boolean> => {
      settle();
      if (checkpoints === null)
        return saveAsHeir(world, { run: output, state, step, keep, record, metrics: lastMetrics, emit });
      await save();
      return checkpoints.settle().then(
        () => true,
        () => false, // a warning has said why
      );
    };
    /** For what ends the training but leaves its state whole: data that can't be read, memory that runs out. */
    const keepState = async (): Promise<void> => {
      if (step === savedAt || !(await rescue().catch(() => false))) return;
      warn(`the state after step ${step} is saved. Continue with: dino train --resume ${shellPath(output)}`);
    };
    /** A step. One that loses a process changes nothing: rescue() saves the state before it. */
    const attempt = async <T>(work: () => T): Promise<T> => {
      try {
        return await world.attempt(rescue, work);
      } catch (error) {
        if (!(error instanceof ProcessError)) await keepState();
        throw withMemoryAdvice(error, settings);
      }
    };
    const cacheBytes = decodedCacheBytes(settings);
    const workers =
      settings.numWorkers === 'auto'
        ? new WorkerCount(Math.floor(availableParallelism() / world.localSize))
        : null;
    const loader = new MultiCropLoader({
      items: images.items,
      batchSize: settings.batchSize,
      seed: settings.seed,
      channels: settings.channels,
      augmentation: settings satisfies AugmentationSettings, // every name of it is a setting
      numWorkers: settings.numWorkers === 'auto' ? 1 : settings.numWorkers,
      decodedCache: cacheBytes,
      startEpoch: Math.floor(step / stepsPerEpoch),
      startBatch: step % stepsPerEpoch,
      // a run in steps ends in the middle of an epoch, and may still become longer
      epochs: step >= course.totalSteps ? 0 : length.steps === undefined ? length.epochs : Infinity,
      shard: { rank: world.rank, count: world.size },
    });
    emit({
      type: 'start',
      images: images.items.length,
      stepsPerEpoch,
      totalSteps: course.totalSteps,
      startStep: step,
      time: pace?.time ?? null,
      device,
      precision,
      decodedCache:
        cacheBytes > 0
          ? { bytes: cacheBytes, images: await cacheRoom(loader, cacheBytes, images.items) }
          : null,
      parameters: parameters.reduce(
        (sum, [, parameter]) => sum + (parameter.requiresGrad ? parameter.numel : 0),
        0,
      ),
      settings: { ...settings, ...length },
    });
    changes.forEach(warn);

    // ============ the judge ============
    const judge = await TrainingJudge.open({
      ...{ run: output, settings: { ...settings, numWorkers: loader.numWorkers }, items: images.items },
      ...{ backbone: teacher.backbone, build: buildTeacherBackbone },
      ...{ stepsPerEpoch, totalSteps: course.totalSteps, world, signal, warn },
    });
    /** Judges the teacher's weights. @returns Whether they are the best so far. */
    const judgeNow = async (): Promise<boolean> => {
      const line = await world.attempt(rescue, () => judge?.judge(step) ?? null);
      if (line === null) return false;
      if (world.isFirst) metricsLog.add(line);
      emit({ type: 'judge', ...line });
      return line.judge.isBest;
    };
    const isFirstBest = judge?.isOwed(step) === true && (await judgeNow()); // what training begins with
    if (isFirstBest || judge?.mustKeep(step) === true) await checkpoints?.save(step, ['best']);

    /** k-NN with labels, of the teacher's weights. @returns Whether it was not cut short. */
    const knnNow = async (): Promise<boolean> => {
      const began = performance.now();
      const knnSettings = { ...settings, numWorkers: loader.numWorkers };
      const found = await world
        .attempt(rescue, () => evaluateDuringTraining(teacher.backbone, knnSettings, world, signal))
        .catch((error: unknown) => {
          if (signal?.aborted === true && error === signal.reason) return null; // training ends after the next step
          throw error;
        });
      if (found === null) {
        warn(knnCutShort(step, step === course.totalSteps));
        return false;
      }
      const { remarks, ...scores } = found;
      const epoch = Math.max(0, Math.ceil(step / stepsPerEpoch) - 1);
      if (world.isFirst) metricsLog.add({ step, epoch, ...scores });
      emit({ type: 'knn', step, epoch, ...scores });
      for (const remark of world.isFirst ? remarks : []) {
        if (!told.has(remark)) warn(remark);
        told.add(remark);
      }
      pace?.evaluated('knn', performance.now() - began);
      return true;
    };
    const knnIsDue = (): boolean =>
      isKnnDue(step, settings, { stepsPerEpoch, totalSteps: course.totalSteps });
    const isOwed = knnIsDue() && (await world.shared('whether k-NN is owed', () => lacksKnn(output, step)));
    let isMeasured = isOwed ? await knnNow() : true;

    // ============ the loop ============
    const firstWholeEpoch = Math.ceil(step / stepsPerEpoch);
    let waited = 0; // ms spent waiting for images since the last line of metrics
    let lastStepEnd = performance.now();
    let imagesSinceLog = 0;
    let lastLog = performance.now();
    pace?.start(course.totalSteps);
    for await (const batch of keepingState(loader, keepState)) {
      const stepStart = unread === null ? performance.now() : lastStepEnd;
      // a GPU that is busy with earlier steps hasn't waited
      const waitMs = unread === null || isIdle(device) ? batch.waitMs : 0;
      waited += waitMs;
      const epoch = Math.floor(step / stepsPerEpoch);
      const { schedules, totalSteps } = course;
      const lr = schedules.lr[step] as number;
      const weightDecay = schedules.weightDecay[step] as number;
      const momentum = schedules.momentum[step] as number;
      const teacherTemp = schedules.teacherTemp[step] as number;
      const isLog =
        (step + 1) % settings.logEvery === 0 || (step + 1) % stepsPerEpoch === 0 || step + 1 === totalSteps;

      if (world.size > 1) {
        const seed = stepSeed(settings.seed, step, world.rank); // each rank drops different paths
        for (const generator of generators) generator.manualSeed(seed);
      }
      const result = await attempt(() =>
        scope(() => {
          const { backbone } = student;
          const crops = (pixels: Uint8Array, size: number): Tensor =>
            normalizeImages(
              pixelTensor(pixels, backbone, { width: size, height: size }, device),
              backbone.normalization,
            );
          const globals = crops(batch.globals, batch.globalSize); // (2 * B, C, S, S)
          const locals = batch.locals ? [crops(batch.locals, batch.localSize)] : []; // (L * B, C, s, s)
          batch.release(); // the workers may refill it
          const { clipGrad, freezeLastLayer, koleoWeight, microBatchSize, activationCheckpointing } =
            settings;
          const exactEpoch = step / stepsPerEpoch;
          const { freezeBackbone, backboneWarmupEpochs } = settings;
          const schedule = { epoch: exactEpoch, lr, weightDecay, momentum, teacherTemp };
          const how = {
            ...schedule,
            clipGrad,
            freezeLastLayer,
            backboneShare: backboneShare(exactEpoch, freezeBackbone, backboneWarmupEpochs),
            layerRates: rates,
            koleoWeight,
            microBatchSize,
            activationCheckpointing,
            precision,
            measure: isLog,
          };
          return unread === null
            ? { ...dinoStep(state, [globals, ...locals], how), undone: 1 }
            : queueStep(state, unread, [globals, ...locals], how);
        }),
      );
      if (result?.finite === false) {
        step -= result.undone - 1; // those have changed neither weights nor centre
        await endNotFinite();
      }
      if (workers !== null) {
        const { settled } = workers;
        const now = performance.now();
        workers.observe({ waitMs, workMs: now - stepStart - (unread === null ? 0 : waitMs) });
        lastStepEnd = now;
        loader.setWorkers(workers.count);
        if (workers.settled !== null && workers.settled !== settled)
          emit({ type: 'workers', workers: workers.count, dataWaitPercent: 100 * workers.settled });
      }
      const loss = result?.loss ?? null;
      lastLoss = loss ?? lastLoss;
      step++;
      imagesSinceLog += batchSize;

      let metrics: StepMetrics | null = null;
      if (loss !== null && result?.statistics) {
        const { entropy, kl, centerNorm } = result.statistics;
        const elapsed = performance.now() - lastLog;
        metrics = {
          step,
          epoch,
          loss,
          lr,
          wd: weightDecay,
          momentum,
          teacherTemp,
          teacherEntropy: entropy,
          kl,
          centerNorm,
          imagesPerSecond: (1000 * imagesSinceLog) / elapsed,
          dataWaitPercent: (100 * waited) / elapsed,
          memoryMiB: process.memoryUsage.rss() / 2 ** 20,
        };
        await checkFolder(metrics);
        if (world.isFirst) metricsLog.add(metrics);
        lastMetrics = metrics;
        const warning = monitor.observe(step, loss, result.statistics);
        if (warning !== null) warn(warning.message);
        lastLog = performance.now();
        waited = 0;
        imagesSinceLog = 0;
      }
      emit({ type: 'step', step, epoch, loss, metrics });

      const agreed = await world.attempt(rescue, () =>
        world.agree(step, signal?.aborted ?? false, batch.skipped),
      );
      for (const bad of agreed.found) {
        if (skipped.has(bad.path)) continue;
        skipped.add(bad.path);
        if (world.isFirst && !logged.has(bad.path)) skippedLog.add(bad);
        emit({ type: 'skipped', ...bad });
        if (skipped.size > settings.maxBadShare * images.items.length) {
          await keepState();
          throw new DataError(
            `${skipped.size} of ${images.items.length} images can't be read, more than --max-bad-share ` +
              `${settings.maxBadShare} allows; ${printable(skippedPath(output))} lists them with the reasons. The last one: ` +
              `${printable(bad.path)}: ${printable(bad.reason)}`,
          );
        }
      }

      if (course.isDue(step)) {
        const secondsLeft = await course.follow(step);
        emit({ type: 'length', step, totalSteps: course.totalSteps, secondsLeft });
      }

      const isEpochEnd = step % stepsPerEpoch === 0;
      const isRunEnd = step === course.totalSteps;
      if (isEpochEnd && epoch === firstWholeEpoch && loader.cached !== null)
        emit({ type: 'decoded-cache', ...loader.cached });
      const isStopped = agreed.stop;
      const isDue = settings.saveEverySteps > 0 && step % settings.saveEverySteps === 0;
      const isEpochSaved = isEpochEnd && course.savesEpoch(step - savedAt);
      const isJudged = !isStopped && judge?.isOwed(step, isRunEnd) === true;
      const isKnnNow = knnIsDue();
      const isSaved = isEpochSaved || isRunEnd || isStopped || isDue;
      if ((isSaved || isJudged || isKnnNow) && !settle()) await endNotFinite();
      const judgedAt = performance.now();
      const isBest = isJudged && (await judgeNow());
      if (isJudged) pace?.evaluated('judge', performance.now() - judgedAt);
      if (isJudged && judge.stoppedGettingBetter && (await course.endStalled(step)))
        warn(
          `ending: the judge sees no gain any more; ${course.totalSteps - step} more steps bring the schedules to their end`,
        );
      if (isSaved || isBest) await save(isBest);
      if (isStopped) {
        isMeasured &&= !isKnnNow;
        break;
      }
      if (isKnnNow) isMeasured = await knnNow();
      if (isRunEnd) break;
      await eventLoopTurn(); // lets signals, workers' messages and the caller's timers in
    }
    const checkpoint = (await checkpoints?.settle()) ?? output;
    const verdict = judge?.verdict() ?? null;
    if (verdict !== null && step === course.totalSteps && world.isFirst) warn(verdict);
    const best = judge?.keepsBest !== true || judge.bestStep === step ? null : bestPath(output);
    course.keepTime();
    await world.attempt(rescue, () => world.meet('the end of the training'));
    isDone = step === course.totalSteps && isMeasured;
    state.parallel?.dispose();
    for (const part of [student, teacher, optimizer, dinoLoss]) part.dispose();
    state.lowRank?.dispose();
    unread?.dispose();
    return {
      output,
      arch: settings.arch,
      steps: step,
      loss: lastLoss,
      ...{ checkpoint, best },
      interrupted: !isDone,
      time: pace?.time ?? null,
      skipped: skipped.size,
      leftOut: images.leftOut,
    };
  } catch (error) {
    throw await world.explain(error);
  } finally {
    await trackers?.close(isDone);
    metricsLog.close();
    skippedLog.close();
    lock?.release();
  }
}

/** About how many images fit in the cache, estimated from their typical size. */
async function cacheRoom(loader: MultiCropLoader, bytes: number, items: ImageItems): Promise<number> {
  const { width, height } = await gatherFacts(items, machineFacts('cpu'));
  return Math.min(items.length, Math.floor(bytes / loader.decodedBytes(width, height)));
}
