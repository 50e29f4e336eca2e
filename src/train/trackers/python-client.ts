/**
 * Trackers whose own Python client is the only documented way in: Weights & Biases (docs.wandb.ai) and Trackio
 * (huggingface.co/docs/trackio). A process of the user's Python runs the client and reads JSON lines from us; the training
 * never waits for it but at its end. Where the data goes, and to whose account, is the client's own configuration.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { pythonCandidates } from '../../../scripts/find-libtorch.mjs';
import { ConfigError } from '../../errors.js';
import { writeFileWhole } from '../../files/atomic-file.js';
import { makeFolder, readTextIfThere, SMALL_FILE_BYTES } from '../../files/guarded.js';
import { messageOf, printable } from '../../plain/printable.js';

export const PYTHON_CLIENTS = ['wandb', 'trackio'] as const;
export type PythonClientName = (typeof PYTHON_CLIENTS)[number];

/** The most bytes that wait for a client that is slow; later values are dropped, and counted. */
const MOST_WAITING = 16 * 2 ** 20;
/** How long the end of a training waits for the client to send what is left; it then goes on by itself. */
const END_MS = 60_000;
const ERROR_LENGTH = 4000;

/** Messages: {id, name, folder, settings}, then {step, values} each, then {status}. */
const READ = `
import sys
sys.path[:] = [place for place in sys.path if place]  # nothing is loaded from the current folder
import json, os
start = json.loads(sys.stdin.readline())
messages = (json.loads(line) for line in sys.stdin)
status = 'FAILED'
`;
const PROGRAMS: Record<PythonClientName, string> = {
  wandb: `${READ}
import wandb
run = wandb.init(project=os.environ.get('WANDB_PROJECT', 'dino'), id=start['id'], name=start['name'], dir=start['folder'],
                 resume='allow', config=start['settings'], settings=wandb.Settings(silent=True))
for message in messages:
    if 'values' in message:
        run.log(message['values'], step=message['step'])
    else:
        status = message['status']
run.finish(exit_code=0 if status == 'FINISHED' else 1)
`,
  trackio: `${READ}
import trackio
trackio.init(project=os.environ.get('TRACKIO_PROJECT', 'dino'), name=start['name'] + '-' + start['id'], resume='allow',
             config=start['settings'])
for message in messages:
    if 'values' in message:
        trackio.log(message['values'], step=message['step'])
trackio.finish()
`,
};

/** @throws ConfigError when no Python on this machine has the client. */
export function pythonWith(name: PythonClientName): string {
  const program = `import sys; sys.path[:] = [place for place in sys.path if place]; import importlib.util; sys.exit(importlib.util.find_spec('${name}') is None)`;
  const candidates = pythonCandidates();
  for (const python of candidates)
    if (spawnSync(python, ['-c', program], { stdio: 'ignore', timeout: 20_000 }).status === 0) return python;
  throw new ConfigError(
    `--log ${name} needs ${name}'s own Python client, which no Python here has (${candidates.join(', ')}): ` +
      `pip install ${name}, or activate the environment that has it`,
  );
}

export class PythonClient {
  readonly #name: PythonClientName;
  readonly #warn: (message: string) => void;
  readonly #child: ChildProcess;
  /** Why it ended; null if as it should. */
  readonly #ended: Promise<string | null>;
  #hasEnded = false;
  #isClosing = false;
  #errors = '';
  #dropped = 0;

  /**
   * @param run - Its folder, where the client's id of the run is kept, so that a resumed run goes on there.
   * @throws ConfigError without a Python that has the client; DataError when the folder can't be written.
   */
  constructor(
    name: PythonClientName,
    run: string,
    settings: Readonly<Record<string, unknown>>,
    warn: (message: string) => void,
  ) {
    this.#name = name;
    this.#warn = warn;
    const python = pythonWith(name);
    const id = idOf(name, run);
    // a new folder each time: what the client writes there follows no link of a stranger's run
    const folder = path.join(
      run,
      name,
      `${new Date().toISOString().replace(/\W/g, '')}-${randomBytes(2).toString('hex')}`,
    );
    if (name === 'wandb') makeFolder(folder, { within: run });
    // in a process group of its own: Ctrl-C ends the training in order, and the client when that has ended
    this.#child = spawn(python, ['-c', PROGRAMS[name]], {
      stdio: ['pipe', 'ignore', 'pipe'],
      detached: true,
    });
    this.#child.unref();
    this.#child.stdin!.on('error', () => undefined); // the end of the process is what counts
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-ERROR_LENGTH);
    });
    this.#ended = new Promise((resolve) => {
      this.#child.on('error', (error) => resolve(messageOf(error)));
      // processes of the client's own may keep its output open
      this.#child.on('exit', (code, signal) => {
        if (code === 0) resolve(null);
        else
          void once(this.#child, 'close', { signal: AbortSignal.timeout(1000) })
            .catch(() => undefined)
            .then(() => resolve(this.#reason(code, signal)));
      });
    });
    void this.#ended.then((problem) => {
      this.#hasEnded = true;
      if (problem !== null)
        warn(`--log ${name}: the client ended (${problem}). metrics.jsonl has all values`);
    });
    this.#send({ id, name: path.basename(path.resolve(run)), folder, settings });
  }

  scalars(step: number, values: Readonly<Record<string, number>>): void {
    if (this.#hasEnded) return;
    if (this.#child.stdin!.writableLength > MOST_WAITING) this.#dropped++;
    else this.#send({ step, values });
  }

  /** Sends what is left, and waits for the client, for a minute at most. @param status - FINISHED, FAILED or KILLED. */
  async close(status: 'FINISHED' | 'FAILED' | 'KILLED'): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    if (!this.#hasEnded) {
      this.#send({ status });
      this.#child.stdin!.end();
    }
    const late = new AbortController();
    const isLate = await Promise.race([
      this.#ended.then(() => false),
      wait(END_MS, true, { signal: late.signal }).catch(() => false),
    ]);
    late.abort();
    if (isLate) {
      this.#child.stderr!.destroy();
      this.#warn(`--log ${this.#name}: the client is still sending, and goes on by itself`);
    }
    if (this.#dropped > 0)
      this.#warn(
        `--log ${this.#name}: ${this.#dropped} lines were not sent, since the client was slow; metrics.jsonl has them`,
      );
  }

  #send(message: unknown): void {
    this.#child.stdin!.write(`${JSON.stringify(message)}\n`);
  }

  /** The last line that it wrote, which is Python's message of an error. */
  #reason(code: number | null, signal: string | null): string {
    const last = this.#errors.trimEnd().split('\n').at(-1) ?? '';
    return `${signal ?? `code ${code}`}${last === '' ? '' : `: ${printable(last)}`}`;
  }
}

/** The client's id of a run: drawn once, kept in the run folder. */
function idOf(name: PythonClientName, run: string): string {
  const file = path.join(run, `${name}.json`);
  try {
    const text = readTextIfThere(file, { within: run, maxBytes: SMALL_FILE_BYTES }) ?? '{}';
    const { id } = JSON.parse(text) as { id?: unknown };
    if (typeof id === 'string' && /^[a-z0-9]{8}$/.test(id)) return id;
  } catch {
    // a damaged file: a new run
  }
  const id = randomBytes(4).toString('hex');
  writeFileWhole(file, JSON.stringify({ id }), { within: run });
  return id;
}
