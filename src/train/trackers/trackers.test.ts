/** TensorBoard's files as TensorBoard reads them, a server of MLflow, and the clients of Weights & Biases and Trackio; the real programs where a Python has them. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, before, it } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { ConfigError } from '../../errors.js';
import { readLines } from '../../files/json-lines.js';
import { makeImageFolder } from '../../testing/image-folder.js';
import { TINY_SETTINGS } from '../../testing/tiny-run.js';
import { train } from '../train.js';
import { MlflowRun } from './mlflow.js';
import { maskedCrc } from './tensorboard.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-trackers-'));
const images = path.join(folder, 'images');
before(() => makeImageFolder(images, { classes: 2, perClass: 5 }));
after(() => rmSync(folder, { recursive: true }));

/** A Python with some of the programs. */
const python = process.env['DINO_TEST_TRACKERS'];
const withProgram = (name: string): { skip: string | false } => ({
  skip:
    (python === undefined || spawnSync(python, ['-c', `import ${name}`]).status !== 0) &&
    `DINO_TEST_TRACKERS names no Python with ${name}`,
});
const SETTINGS = { ...TINY_SETTINGS, steps: 4, watchImages: ['auto'], numWorkers: 0 };

/** Trains, stopped after the second step and resumed. */
async function stoppedAndResumed(name: string, log: string): Promise<{ run: string; warnings: string[] }> {
  const run = path.join(folder, name);
  const warnings: string[] = [];
  const stop = new AbortController();
  await train({
    ...{ images, output: run, settings: { ...SETTINGS, log }, signal: stop.signal },
    onEvent: (event) => {
      if (event.type === 'step' && event.step === 2) stop.abort();
      if (event.type === 'warning') warnings.push(event.message);
    },
  });
  await train({ output: run, resume: true });
  return { run, warnings };
}

it('a tracker that is not set up is refused before the run is begun', async () => {
  const kept = { ...process.env };
  delete process.env['MLFLOW_TRACKING_URI'];
  process.env['PATH'] = folder; // no Python
  try {
    for (const log of ['tensorboard,mlflow', 'wandb']) {
      const run = path.join(folder, `never-${log}`);
      await assert.rejects(
        train({ images, output: run, settings: { ...SETTINGS, log } }),
        (error) => error instanceof ConfigError && /--log (mlflow|wandb) needs/.test(error.message),
      );
      assert.ok(!existsSync(path.join(run, 'config.json')));
    }
  } finally {
    Object.assign(process.env, kept);
  }
});

/** The messages of a file, each with both of its checksums looked at. */
function recordsOf(file: string): Buffer[] {
  const bytes = readFileSync(file);
  const found: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = Number(bytes.readBigUInt64LE(at));
    assert.equal(bytes.readUInt32LE(at + 8), maskedCrc(bytes.subarray(at, at + 8)));
    const message = bytes.subarray(at + 12, at + 12 + length);
    assert.equal(bytes.readUInt32LE(at + 12 + length), maskedCrc(message));
    found.push(message);
    at += 16 + length;
  }
  return found;
}

it('checksums are CRC-32C, masked', () => {
  // RFC 3720, B.4: 32 bytes of zeros have 0x8a9136aa
  const crc = 0x8a9136aa;
  assert.equal(maskedCrc(new Uint8Array(32)), (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
});

it('a run that was resumed has one event file for each time, whole records all of them', async () => {
  const { run, warnings } = await stoppedAndResumed('files', 'tensorboard');
  assert.deepEqual(warnings, []);
  const files = readdirSync(path.join(run, 'tensorboard')).sort();
  assert.equal(files.length, 2);
  const [first, second] = files.map((name) => recordsOf(path.join(run, 'tensorboard', name)));
  assert.ok(first![0]!.includes('brain.Event:2'));
  for (const records of [first!, second!]) {
    assert.equal(
      records.filter((record) => record.includes('teacherEntropy')).length,
      2,
      'two steps of metrics each',
    );
    assert.ok(records.some((record) => record.includes('attention/') && record.includes('PNG')));
  }
});

it('says which trackers there are, and what MLflow needs', async () => {
  const run = { images, output: path.join(folder, 'never') };
  await assert.rejects(
    train({ ...run, settings: { ...SETTINGS, log: 'aim' } }),
    /log is "aim"; expected tensorboard, mlflow, wandb, trackio/,
  );
  await assert.rejects(train({ ...run, settings: { ...SETTINGS, log: 'mlflow' } }), /MLFLOW_TRACKING_URI/);
});

/** A port that nothing listens on. */
const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

it('a server that does not answer costs the training nothing but a line', async () => {
  process.env['MLFLOW_TRACKING_URI'] = `http://127.0.0.1:${await freePort()}`;
  try {
    const { run, warnings } = await stoppedAndResumed('alone', 'mlflow');
    assert.equal(readLines(path.join(run, 'metrics.jsonl')).length, 4);
    assert.match(warnings.join('\n'), /does not answer[^]*values were not sent; metrics\.jsonl has them/);
  } finally {
    delete process.env['MLFLOW_TRACKING_URI'];
  }
});

interface KeptRun {
  status: string;
  params: Record<string, string>;
  losses: [step: number, value: number][];
}

/** The part of MLflow's API that a training calls, over HTTP; before each call `refuse` may answer it. */
async function serveMlflow(
  port: number,
  refuse: (call: string) => { status: number; error_code: string; message?: string } | null = () => null,
): Promise<{ runs: KeptRun[]; close: () => void }> {
  const runs: KeptRun[] = [];
  interface Body {
    run_id: string;
    status?: string;
    params?: { key: string; value: string }[];
    metrics?: { step: number; value: number }[];
  }
  const answer = (call: string, text: string): object => {
    if (call === 'experiments/get-by-name') return { experiment: { experiment_id: '1' } };
    const body = JSON.parse(text) as Body;
    if (call === 'runs/create') {
      runs.push({ status: 'RUNNING', params: {}, losses: [] });
      return { run: { info: { run_id: String(runs.length - 1) } } };
    }
    const run = runs[Number(body.run_id)]!;
    if (body.status !== undefined) run.status = body.status;
    for (const { key, value } of body.params ?? []) run.params[key] = value;
    for (const { step, value } of body.metrics ?? []) run.losses.push([step, value]);
    return {};
  };
  const server = createHttpServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const call = new URL(request.url!, 'http://a').pathname.slice('/api/2.0/mlflow/'.length);
      const refusal = refuse(call);
      response.writeHead(refusal?.status ?? 200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(refusal ?? answer(call, Buffer.concat(chunks).toString())));
    });
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const close = (): void => {
    server.close();
    server.closeAllConnections();
  };
  return { runs, close };
}

/** Until something holds; the test's own assertions say what didn't. */
async function until(holds: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !holds(); i++) await wait(50);
}

/** A client of MLflow for the folder `name`, and its warnings. */
function mlflowRun(name: string): { run: string; client: MlflowRun; warnings: string[] } {
  const run = path.join(folder, name);
  mkdirSync(run, { recursive: true });
  const warnings: string[] = [];
  const client = new MlflowRun(run, { embedDim: 32, arch: 'vit' }, (message) => warnings.push(message));
  return { run, client, warnings };
}
const busy = { status: 503, error_code: 'TEMPORARILY_UNAVAILABLE' };
const whole = { params: { embedDim: '32', arch: 'vit' }, status: 'FINISHED' };

it('values wait for an MLflow that starts after the training', async () => {
  const port = await freePort();
  await withVariables({ MLFLOW_TRACKING_URI: `http://127.0.0.1:${port}` }, async () => {
    const { client, warnings } = mlflowRun('early');
    client.scalars(1, { loss: 4 });
    await until(() => warnings.length > 0);
    assert.match(warnings.join(), /does not answer.*values wait until it answers/);
    const { runs, close } = await serveMlflow(port);
    try {
      client.scalars(2, { loss: 3 });
      await until(() => runs[0]?.losses.length === 2);
      assert.deepEqual(runs[0]?.losses, [
        [1, 4],
        [2, 3],
      ]);
      await client.close('FINISHED');
      assert.equal(runs[0].status, 'FINISHED');
      assert.equal(warnings.length, 1);
    } finally {
      close();
    }
  });
});

it('a server that is busy at first, whatever it was asked, has one run of MLflow with everything', async () => {
  const calls = ['experiments/get-by-name', 'runs/create', 'runs/log-batch'];
  for (const first of calls) {
    // another port each time: a connection that was kept to the server before is not one to this
    const port = await freePort();
    await withVariables({ MLFLOW_TRACKING_URI: `http://127.0.0.1:${port}` }, async () => {
      let isBusy = true;
      const refused: string[] = [];
      const { runs, close } = await serveMlflow(port, (call) => {
        if (!isBusy || call !== first) return null;
        refused.push(call);
        return busy;
      });
      try {
        const { client, warnings } = mlflowRun(`busy-${calls.indexOf(first)}`);
        client.scalars(1, { loss: 4 });
        await until(() => warnings.length > 0);
        isBusy = false;
        await client.close('FINISHED');
        assert.deepEqual(runs, [{ ...whole, losses: [[1, 4]] }], first);
        assert.ok(refused.length > 0);
        assert.equal(warnings.length, 1);
      } finally {
        close();
      }
    });
  }
});

it('a resumed run gets a new run of MLflow only where the server says that it no longer has the old one', async () => {
  const port = await freePort();
  await withVariables({ MLFLOW_TRACKING_URI: `http://127.0.0.1:${port}` }, async () => {
    type Refusal = ReturnType<Parameters<typeof serveMlflow>[1] & {}>;
    let refusal: Refusal = null;
    const { runs, close } = await serveMlflow(port, (call) => {
      if (call !== 'runs/update') return null;
      const now = refusal;
      refusal = null;
      return now;
    });
    try {
      /** Goes on, with what the server answers first. */
      const log = async (step: number, first: Refusal): Promise<void> => {
        refusal = first;
        const { client } = mlflowRun('again');
        client.scalars(step, { loss: step });
        await client.close('FINISHED');
      };
      await log(1, null);
      await log(2, busy);
      const both: KeptRun['losses'] = [
        [1, 1],
        [2, 2],
      ];
      assert.deepEqual(runs, [{ ...whole, losses: both }]);
      await log(3, { status: 404, error_code: 'RESOURCE_DOES_NOT_EXIST' });
      assert.deepEqual(
        runs.map(({ losses }) => losses),
        [both, [[3, 3]]],
      );
      // in the server's trash
      const message = "The run 1 must be in the 'active' state. Current state is deleted.";
      await log(4, { status: 400, error_code: 'INVALID_PARAMETER_VALUE', message });
      assert.deepEqual(
        runs.map(({ losses }) => losses),
        [both, [[3, 3]], [[4, 4]]],
      );
    } finally {
      close();
    }
  });
});

it('TensorBoard reads every value and picture', withProgram('tensorboard'), async () => {
  const { run } = await stoppedAndResumed('tensorboard', 'tensorboard');
  const program = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0, 'images': 0})
events.Reload()
tags = events.Tags()
print(json.dumps({
  'loss': [[e.step, e.value] for e in events.Scalars('loss')],
  'images': {tag: [e.step for e in events.Images(tag)] for tag in tags['images']},
}))`;
  const found = JSON.parse(
    execFileSync(python!, ['-c', program, path.join(run, 'tensorboard')], { encoding: 'utf8' }),
  ) as { loss: [number, number][]; images: Record<string, number[]> };
  const lines = readLines(path.join(run, 'metrics.jsonl'));
  assert.deepEqual(
    found.loss,
    lines.map(({ step, loss }) => [step, Math.fround(Number(loss))]),
  );
  assert.ok(Object.values(found.images).length > 0);
  for (const steps of Object.values(found.images)) assert.deepEqual([steps[0], steps.at(-1)], [0, 4]);
});

it('MLflow has one run with every value, also of a run that was resumed', withProgram('mlflow'), async () => {
  const port = await freePort();
  const uri = `http://127.0.0.1:${port}`;
  const store = path.join(folder, 'mlflow');
  const server = spawn(
    python!,
    [
      '-m',
      'mlflow',
      'server',
      '--port',
      String(port),
      '--workers',
      '1',
      '--backend-store-uri',
      `sqlite:///${store}.db`,
    ],
    { stdio: 'ignore', cwd: folder, detached: true },
  );
  process.env['MLFLOW_TRACKING_URI'] = uri;
  try {
    for (let i = 0; i < 240; i++) {
      if (
        await fetch(`${uri}/health`).then(
          (answer) => answer.ok,
          () => false,
        )
      )
        break;
      await wait(500);
    }
    const { run, warnings } = await stoppedAndResumed('mlflow', 'mlflow');
    assert.deepEqual(warnings, []);
    const { id } = JSON.parse(readFileSync(path.join(run, 'mlflow.json'), 'utf8')) as { id: string };
    const call = async (what: string): Promise<unknown> =>
      (await fetch(`${uri}/api/2.0/mlflow/${what}`)).json();
    const { metrics } = (await call(`metrics/get-history?run_id=${id}&metric_key=loss`)) as {
      metrics: { step: number; value: number }[];
    };
    assert.deepEqual(
      metrics.map(({ step, value }) => [step, value]).sort(([a], [b]) => a! - b!),
      readLines(path.join(run, 'metrics.jsonl')).map(({ step, loss }) => [step, loss]),
    );
    const { run: whole } = (await call(`runs/get?run_id=${id}`)) as {
      run: { info: { status: string }; data: { params: { key: string; value: string }[] } };
    };
    assert.equal(whole.info.status, 'FINISHED');
    assert.ok(whole.data.params.some(({ key, value }) => key === 'embedDim' && value === '32'));
  } finally {
    delete process.env['MLFLOW_TRACKING_URI'];
    process.kill(-server.pid!, 'SIGKILL');
  }
});

/** Runs `fn` with other variables in the environment; those that are undefined are not set. */
async function withVariables<T>(
  variables: Record<string, string | undefined>,
  fn: () => Promise<T>,
): Promise<T> {
  const before = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  const set = (name: string, value: string | undefined): void => {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  };
  for (const [name, value] of Object.entries(variables)) set(name, value);
  try {
    return await fn();
  } finally {
    for (const [name, value] of before) set(name, value);
  }
}

it('a client that no Python has is an error before the training, which says what to install', async () => {
  const run = path.join(folder, 'without');
  await withVariables({ PATH: folder, VIRTUAL_ENV: undefined, CONDA_PREFIX: undefined }, () =>
    assert.rejects(
      train({ images, output: run, settings: { ...SETTINGS, log: 'tensorboard,trackio' } }),
      /--log trackio needs trackio's own Python client.*pip install trackio/,
    ),
  );
});

/** The environment in which that Python is the active one. */
const active = { VIRTUAL_ENV: path.dirname(path.dirname(python ?? '')) };
const losses = (run: string): [step: number, loss: number][] =>
  readLines(path.join(run, 'metrics.jsonl')).map(({ step, loss }) => [Number(step), Number(loss)]);

it(
  'Weights & Biases has every value offline, under one id also of a run that was resumed',
  withProgram('wandb'),
  async () => {
    const { run, warnings } = await withVariables({ ...active, WANDB_MODE: 'offline' }, () =>
      stoppedAndResumed('wandb', 'wandb'),
    );
    assert.deepEqual(warnings, []);
    const program = `
import glob, json, struct, sys
from wandb.proto import wandb_internal_pb2 as pb

def records(file):  # LevelDB's log format behind a header of 7 bytes
    data, at, part = open(file, 'rb').read(), 7, b''
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        length, kind = struct.unpack('<HB', data[at + 4:at + 7])
        if left < 7 or kind == 0:
            at += left
            continue
        part += data[at + 7:at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield part
            part = b''

found = []
for file in sorted(glob.glob(sys.argv[1] + '/wandb/*/wandb/offline-run-*/run-*.wandb')):
    one = {'losses': []}
    for data in records(file):
        record = pb.Record()
        record.ParseFromString(data)
        if record.HasField('run'):
            one['id'] = record.run.run_id
            one['config'] = {item.key: json.loads(item.value_json) for item in record.run.config.update}
        if record.HasField('history'):
            values = {item.key or '.'.join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            if 'loss' in values: one['losses'].append([values['_step'], values['loss']])
    found.append(one)
print(json.dumps(found))`;
    const found = JSON.parse(execFileSync(python!, ['-c', program, run], { encoding: 'utf8' })) as {
      id: string;
      config: Record<string, unknown>;
      losses: [number, number][];
    }[];
    assert.equal(found.length, 2);
    assert.deepEqual(
      found.flatMap(({ losses }) => losses),
      losses(run),
    );
    const { id } = JSON.parse(readFileSync(path.join(run, 'wandb.json'), 'utf8')) as { id: string };
    assert.deepEqual([...new Set(found.map((one) => one.id))], [id]);
    assert.equal(found[0]!.config['embedDim'], 32);
  },
);

it('a link in the run leads no client out of it', withProgram('wandb'), async () => {
  const [run, outside] = [path.join(folder, 'linked'), path.join(folder, 'outside')];
  mkdirSync(run);
  mkdirSync(outside);
  symlinkSync(outside, path.join(run, 'wandb'));
  await withVariables({ ...active, WANDB_MODE: 'offline' }, () =>
    assert.rejects(train({ images, output: run, settings: { ...SETTINGS, log: 'wandb' } }), /wandb.*link/),
  );
  assert.deepEqual(readdirSync(outside), []);
});

it('a client that fails costs the training nothing but a line', withProgram('wandb'), async () => {
  const login = { WANDB_MODE: 'online', WANDB_API_KEY: undefined, HOME: path.join(folder, 'nobody') };
  const { run, warnings } = await withVariables(
    { ...active, ...login, NETRC: path.join(folder, 'none') },
    () => stoppedAndResumed('not-logged-in', 'wandb'),
  );
  assert.equal(losses(run).length, 4);
  assert.match(warnings.join('\n'), /--log wandb: the client ended \(.*\)\. metrics\.jsonl has all values/);
});

it(
  'Trackio has one run with every value, also of a run that was resumed',
  withProgram('trackio'),
  async () => {
    const place = { TRACKIO_DIR: path.join(folder, 'trackio-data'), TRACKIO_PROJECT: 'test' };
    const { run, warnings } = await withVariables({ ...active, ...place }, () =>
      stoppedAndResumed('trackio', 'trackio'),
    );
    assert.deepEqual(warnings, []);
    const program = `
import json
from trackio.sqlite_storage import SQLiteStorage
print(json.dumps({run: [[log['step'], log['loss']] for log in SQLiteStorage.get_logs('test', run) if 'loss' in log]
                  for run in SQLiteStorage.get_runs('test')}))`;
    const found = JSON.parse(
      execFileSync(python!, ['-c', program], { encoding: 'utf8', env: { ...process.env, ...place } }),
    ) as Record<string, [number, number][]>;
    assert.deepEqual(Object.values(found), [losses(run)]);
  },
);
