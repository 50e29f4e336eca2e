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
  readonly #warn: (message: string) => void;
  readonly #ready: Promise<string | null>;
  #waiting: Metric[] = [];
  #dropped = 0;
  #sending: Promise<void> | null = null;
  readonly #closing = new AbortController();
  #hasFailed = false;

  /** @param run - Its folder, where the server's id of the run is kept, so that a resumed run goes on there. */
  constructor(run: string, settings: Readonly<Record<string, unknown>>, warn: (message: string) => void) {
    this.#server = mlflowServer();
    this.#warn = warn;
    this.#ready = this.#begin(run, settings).catch((error: unknown) => {
      this.#fail(error);
      return null;
    });
  }

  scalars(step: number, values: Readonly<Record<string, number>>): void {
    const timestamp = Date.now();
    for (const [key, value] of Object.entries(values)) {
      if (this.#waiting.length < MOST_WAITING) this.#waiting.push({ key, value, timestamp, step });
      else this.#dropped++;
    }
    this.#sending ??= this.#sendSoon();
  }

  /** Sends what is left, and ends the run on the server. @param status - FINISHED, FAILED or KILLED. */
  async close(status: 'FINISHED' | 'FAILED' | 'KILLED'): Promise<void> {
    this.#closing.abort();
    await this.#sending;
    await this.#send();
    const id = await this.#ready;
    if (id !== null)
      await this.#post('runs/update', { run_id: id, status, end_time: Date.now() }).catch((error: unknown) =>
        this.#fail(error),
      );
    const lost = this.#waiting.length + this.#dropped;
    if (lost > 0) this.#warn(`--log mlflow: ${lost} values were not sent; metrics.jsonl has them`);
  }

  async #begin(run: string, settings: Readonly<Record<string, unknown>>): Promise<string> {
    const file = path.join(run, 'mlflow.json');
    try {
      const text = readTextIfThere(file, { within: run, maxBytes: SMALL_FILE_BYTES }) ?? '{}';
      const { server, id } = JSON.parse(text) as { server?: unknown; id?: unknown };
      if (server === this.#server && typeof id === 'string') {
        await this.#post('runs/update', { run_id: id, status: 'RUNNING' });
        return id;
      }
    } catch {
      // a new run, or one that the server no longer has
    }
    const experiment = await this.#experiment('dino');
    const { run: made } = (await this.#post('runs/create', {
      experiment_id: experiment,
      run_name: path.basename(run),
      start_time: Date.now(),
    })) as { run: { info: { run_id: string } } };
    const id = made.info.run_id;
    const params = Object.entries(settings).map(([key, value]) => ({
      key,
      value: (typeof value === 'string' ? value : JSON.stringify(value)).slice(0, PARAM_LENGTH),
    }));
    for (let i = 0; i < params.length; i += PARAMS_AT_ONCE)
      await this.#post('runs/log-batch', { run_id: id, params: params.slice(i, i + PARAMS_AT_ONCE) });
    writeFileWhole(file, JSON.stringify({ server: this.#server, id }), { within: run });
    return id;
  }

  async #experiment(name: string): Promise<string> {
    const found = await this.#request('GET', `experiments/get-by-name?experiment_name=${name}`);
    if (found.status === 200)
      return ((await found.json()) as { experiment: { experiment_id: string } }).experiment.experiment_id;
    return ((await this.#post('experiments/create', { name })) as { experiment_id: string }).experiment_id;
  }

  /** Values of two seconds go in one request. */
  async #sendSoon(): Promise<void> {
    await wait(WAIT_MS, undefined, { signal: this.#closing.signal }).catch(() => undefined);
    await this.#send();
    this.#sending = null;
  }

  async #send(): Promise<void> {
    const id = await this.#ready;
    while (id !== null && this.#waiting.length > 0) {
      const metrics = this.#waiting.slice(0, METRICS_AT_ONCE);
      try {
        await this.#post('runs/log-batch', { run_id: id, metrics });
      } catch (error) {
        this.#fail(error);
        return; // again with the next values
      }
      this.#waiting.splice(0, metrics.length);
      this.#hasFailed = false;
    }
  }

  /** A warning for the first of several failures in a row. */
  #fail(error: unknown): void {
    if (!this.#hasFailed)
      this.#warn(`--log mlflow: ${messageOf(error)}. Training continues; values wait until it answers`);
    this.#hasFailed = true;
  }

  async #request(method: string, call: string, body?: unknown): Promise<Response> {
    try {
      return await fetch(`${this.#server}/api/2.0/mlflow/${call}`, {
        ...{ method, headers: headers(), signal: AbortSignal.timeout(TIMEOUT_MS) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
    } catch (error) {
      const { cause } = error as Error;
      const why = messageOf(cause instanceof Error ? cause : error);
      throw new DataError(`${this.#server} does not answer (${why})`, { cause: error });
    }
  }

  async #post(call: string, body: unknown): Promise<unknown> {
    const response = await this.#request('POST', call, body);
    if (!response.ok)
      throw new DataError(
        `${this.#server} answered ${response.status}: ${(await response.text()).slice(0, 200)}`,
      );
    return response.json();
  }
}
