/**
 * MLflow by its REST API (mlflow.org/docs/latest/rest-api.html): a run in the experiment `dino`, its settings as parameters, its
 * metrics in batches. The server is MLFLOW_TRACKING_URI; MLFLOW_TRACKING_TOKEN, or _USERNAME and _PASSWORD, are sent if set.
 */
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { ConfigError, DataError } from '../../errors.js';
import { writeFileWhole } from '../../files/atomic-file.js';
import { readTextIfThere, SMALL_FILE_BYTES } from '../../files/guarded.js';
import { messageOf } from '../../plain/printable.js';

/** The server's own limits for one request. */
const METRICS_AT_ONCE = 1000;
const PARAMS_AT_ONCE = 100;
const PARAM_LENGTH = 500;
const TIMEOUT_MS = 10_000;
/** Metrics that wait for a server that doesn't answer; later ones are dropped, and counted. */
const MOST_WAITING = 100_000;
const WAIT_MS = 2000;

interface Metric {
  key: string;
  value: number;
  timestamp: number;
  step: number;
}

/** What mlflow.json keeps. */
interface KeptRun {
  server: string;
  id: string;
  /** Its settings haven't reached the server yet. */
  isBare?: true;
}

/** The server answered something other than success. */
class Refusal extends DataError {
  constructor(
    server: string,
    readonly status: number,
    readonly text: string,
  ) {
    super(`${server} answered ${status}: ${text.slice(0, 200)}`);
  }
}

/** Whether the server has no such thing (any more); one in its trash can't be written to either. */
const isGone = (error: unknown): boolean =>
  error instanceof Refusal &&
  (error.status === 404 || /RESOURCE_DOES_NOT_EXIST|Current state is deleted/.test(error.text));

/** @throws ConfigError without a server that can be used. */
export function mlflowServer(env: NodeJS.ProcessEnv = process.env): string {
  const uri = env['MLFLOW_TRACKING_URI'];
  if (uri === undefined || !/^https?:\/\//.test(uri))
    throw new ConfigError(
      `--log mlflow needs a server: set MLFLOW_TRACKING_URI to its address, such as http://127.0.0.1:5000` +
        (uri === undefined ? '' : ` (now ${uri}, which is not one)`),
    );
  return uri.replace(/\/$/, '');
}

function headers(env: NodeJS.ProcessEnv = process.env): Record<string, string> {
  const {
    MLFLOW_TRACKING_TOKEN: token,
    MLFLOW_TRACKING_USERNAME: user,
    MLFLOW_TRACKING_PASSWORD: password,
  } = env;
  const authorization =
    token !== undefined
      ? `Bearer ${token}`
      : user !== undefined
        ? `Basic ${Buffer.from(`${user}:${password ?? ''}`).toString('base64')}`
        : null;
  return { 'content-type': 'application/json', ...(authorization === null ? {} : { authorization }) };
}

/** Sends in the background: the training never waits for the server but at its end. */
export class MlflowRun {
  readonly #server: string;
  readonly #run: string;
  readonly #params: readonly { key: string; value: string }[];
  readonly #warn: (message: string) => void;
  /** The run on the server, once there is one. */
  #kept: KeptRun | null;
  /** Its id, once it takes values. */
  #id: string | null = null;
  #waiting: Metric[] = [];
  #dropped = 0;
  #sending: Promise<void> | null;
  readonly #closing = new AbortController();
  #hasFailed = false;

  /** @param run - Its folder, where the server's id of the run is kept, so that a resumed run goes on there. */
  constructor(run: string, settings: Readonly<Record<string, unknown>>, warn: (message: string) => void) {
    this.#server = mlflowServer();
    this.#run = run;
    this.#params = Object.entries(settings).map(([key, value]) => ({
      key,
      value: (typeof value === 'string' ? value : JSON.stringify(value)).slice(0, PARAM_LENGTH),
    }));
    this.#warn = warn;
    this.#kept = this.#readKept();
    this.#sending = this.#sendAfter(0);
  }

  scalars(step: number, values: Readonly<Record<string, number>>): void {
    const timestamp = Date.now();
    for (const [key, value] of Object.entries(values)) {
      if (this.#waiting.length < MOST_WAITING) this.#waiting.push({ key, value, timestamp, step });
      else this.#dropped++;
    }
    this.#sending ??= this.#sendAfter(WAIT_MS);
  }

  /** Sends what is left, and ends the run on the server. @param status - FINISHED, FAILED or KILLED. */
  async close(status: 'FINISHED' | 'FAILED' | 'KILLED'): Promise<void> {
    this.#closing.abort();
    await this.#sending;
    await this.#send();
    if (this.#id !== null)
      await this.#post('runs/update', { run_id: this.#id, status, end_time: Date.now() }).catch(
        (error: unknown) => this.#fail(error),
      );
    const lost = this.#waiting.length + this.#dropped;
    if (lost > 0) this.#warn(`--log mlflow: ${lost} values were not sent; metrics.jsonl has them`);
  }

  #readKept(): KeptRun | null {
    try {
      const text = readTextIfThere(this.#file, { within: this.#run, maxBytes: SMALL_FILE_BYTES }) ?? '{}';
      const { server, id, isBare } = JSON.parse(text) as Record<keyof KeptRun, unknown>;
      if (server !== this.#server || typeof id !== 'string') return null;
      return { server, id, ...(isBare === true ? { isBare } : {}) };
    } catch {
      return null; // a file that can't be read: a new run
    }
  }

  get #file(): string {
    return path.join(this.#run, 'mlflow.json');
  }

  #keep(kept: KeptRun): void {
    this.#kept = kept; // first: without the file it is still the one run of this process
    writeFileWhole(this.#file, JSON.stringify(kept), { within: this.#run });
  }

  /** What an earlier call has done on the server isn't done again. @returns The id of a run that takes values. */
  async #begin(): Promise<string> {
    if (this.#kept !== null && !(await this.#isThere(this.#kept.id))) this.#kept = null;
    if (this.#kept === null) this.#keep({ server: this.#server, id: await this.#create(), isBare: true });
    const { server, id, isBare } = this.#kept!;
    if (isBare === true) {
      for (let i = 0; i < this.#params.length; i += PARAMS_AT_ONCE)
        await this.#post('runs/log-batch', { run_id: id, params: this.#params.slice(i, i + PARAMS_AT_ONCE) });
      this.#keep({ server, id });
    }
    return id;
  }

  /** Marks a run as running, unless the server no longer has it. */
  async #isThere(id: string): Promise<boolean> {
    try {
      await this.#post('runs/update', { run_id: id, status: 'RUNNING' });
      return true;
    } catch (error) {
      if (isGone(error)) return false;
      throw error;
    }
  }

  async #create(): Promise<string> {
    const experiment = await this.#experiment('dino');
    const { run } = (await this.#post('runs/create', {
      experiment_id: experiment,
      run_name: path.basename(this.#run),
      start_time: Date.now(),
    })) as { run: { info: { run_id: string } } };
    return run.info.run_id;
  }

  async #experiment(name: string): Promise<string> {
    try {
      const found = await this.#call('GET', `experiments/get-by-name?experiment_name=${name}`);
      return (found as { experiment: { experiment_id: string } }).experiment.experiment_id;
    } catch (error) {
      if (!isGone(error)) throw error;
    }
    return ((await this.#post('experiments/create', { name })) as { experiment_id: string }).experiment_id;
  }

  /** Values of two seconds go in one request. */
  async #sendAfter(ms: number): Promise<void> {
    await wait(ms, undefined, { signal: this.#closing.signal }).catch(() => undefined);
    await this.#send();
    this.#sending = null;
  }

  /** What fails is tried again with the next values. */
  async #send(): Promise<void> {
    try {
      const id = (this.#id ??= await this.#begin());
      while (this.#waiting.length > 0) {
        const metrics = this.#waiting.slice(0, METRICS_AT_ONCE);
        await this.#post('runs/log-batch', { run_id: id, metrics });
        this.#waiting.splice(0, metrics.length);
        this.#hasFailed = false;
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  /** A warning for the first of several failures in a row. */
  #fail(error: unknown): void {
    if (!this.#hasFailed)
      this.#warn(`--log mlflow: ${messageOf(error)}. Training continues; values wait until it answers`);
    this.#hasFailed = true;
  }

  /** @throws DataError when it doesn't answer; Refusal when it does, with something other than success. */
  async #call(method: string, call: string, body?: unknown): Promise<unknown> {
    let response: Response;
    try {
      response = await fetch(`${this.#server}/api/2.0/mlflow/${call}`, {
        ...{ method, headers: headers(), signal: AbortSignal.timeout(TIMEOUT_MS) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
    } catch (error) {
      const { cause } = error as Error;
      const why = messageOf(cause instanceof Error ? cause : error);
      throw new DataError(`${this.#server} does not answer (${why})`, { cause: error });
    }
    if (!response.ok) throw new Refusal(this.#server, response.status, await response.text());
    return response.json();
  }

  #post(call: string, body: unknown): Promise<unknown> {
    return this.#call('POST', call, body);
  }
}
