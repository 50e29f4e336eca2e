/**
 * One error class for each kind of failure. A message says where, what was expected, what was found, and what to try; an
 * `internal:` prefix marks a bug of ours.
 */

/** Base of every error that this package throws on purpose; `code` is stable and machine-readable. */
export class DinoError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** A setting, flag, preset or config file is wrong. One message lists all problems found. */
export class ConfigError extends DinoError {
  /** One entry for each problem. */
  readonly problems: readonly string[];
  constructor(problems: string | readonly string[], options?: ErrorOptions) {
    const list = typeof problems === 'string' ? [problems] : problems;
    super('CONFIG', list.join('\n'), options);
    this.problems = list;
  }
}

/** Images, lists of images or other input files are missing, unreadable or too few. */
export class DataError extends DinoError {
  constructor(message: string, options?: ErrorOptions) {
    super('DATA', message, options);
  }
}

/** Weights or a checkpoint can't be read, written, or don't fit the model. */
export class CheckpointError extends DinoError {
  constructor(message: string, options?: ErrorOptions) {
    super('CHECKPOINT', message, options);
  }
}

/** A tensor has the wrong shape or dtype for an operation. */
export class ShapeError extends DinoError {
  constructor(message: string, options?: ErrorOptions) {
    super('SHAPE', message, options);
  }
}

/** libtorch, an addon or a device is missing or failed. */
export class EngineError extends DinoError {
  constructor(message: string, options?: ErrorOptions) {
    super('ENGINE', message, options);
  }
}

/** Another process of a training or group is missing, was lost, or failed. */
export class ProcessError extends EngineError {}
