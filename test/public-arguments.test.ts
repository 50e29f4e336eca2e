/**
 * Every public function and method is called with wrong arguments, one at a time, as a program in JavaScript may: what comes
 * is an error of this package that says what was expected, never one of a library, of the engine below or of V8.
 */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import * as dino from 'dino-ts';
import { ConfigError, DinoError } from '#built/errors.js';
import { writeColourFolders, writeTinyRun } from '#built/testing/saved-run.js';
import { type Call, type Fixture, plain, publicCalls, type Sample, sampleOf } from './public-calls.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-arguments-'));
const home = process.cwd();
const at = (name: string): string => path.join(folder, name);
let fixture: Fixture;

/** By kind: which values an argument of another kind must refuse. */
const KINDS: Readonly<Record<string, unknown>> = {
  number: 42,
  text: 'nonsense',
  object: {},
  list: [],
  boolean: true,
  function: () => undefined,
  null: null,
};
/** What no argument is. */
const NEVER: Readonly<Record<string, unknown>> = {
  NaN,
  'less than 0': -1,
  'a symbol': Symbol('nonsense'),
  'no text': '',
  'a text with a zero byte': 'non\0sense',
};

const kindOf = (value: unknown): string =>
  value === null
    ? 'null'
    : Array.isArray(value)
      ? 'list'
      : typeof value === 'string'
        ? 'text'
        : Object.getPrototypeOf(value) === Object.prototype
          ? 'object'
          : typeof value === 'object'
            ? 'instance'
            : typeof value;

const stopped = new Error('stopped, as was asked');
const signal = AbortSignal.abort(stopped);
/** What is exported and takes nothing from a caller: classes of errors, of values that readers make, to be extended. */
const NOT_CALLED = [
  ...[
    'CheckpointError',
    'ConfigError',
    'DataError',
    'DinoError',
    'EngineError',
    'ProcessError',
    'ShapeError',
  ],
  ...['Backbone', 'NumpyArray', 'PickleNamespace', 'PickleOpaque', 'PthTensor', 'runDoctor'],
];
const METHODS_WITHOUT_ARGUMENTS = [
  ...[
    'Model.dispose',
    'Classifier.dispose',
    'Segmenter.dispose',
    'ImageIndex.skipped',
    'ImageIndex.features',
    'ImageIndex.rawFeatures',
    'ImageIndex.close',
    'PthFile.close',
  ],
  // these take any value of JSON
  ...[
    'World.gather',
    'World.gatherArrays',
    'World.agree',
    'World.explain',
    'World.leave',
    'World.predecessor',
  ],
];

type Outcome = { threw: false } | { threw: true; error: unknown };

async function outcome({ run }: Call, args: readonly unknown[]): Promise<Outcome> {
  try {
    await (run as (...all: readonly unknown[]) => unknown)(...args);
    return { threw: false };
  } catch (error) {
    return { threw: true, error };
  }
}

/** How V8, Node, zod and our own assertions speak. */
const RAW =
  /internal:|Cannot (use|read|destructure|set|convert)|is not (a function|iterable|defined|a constructor)|undefined is not|ERR_|Invalid (array|string|input)|\[object /;

/** What is wrong with an error; null for one of ours in plain words. */
function complaint(error: unknown): string | null {
  if (error === stopped) return null;
  if (!(error instanceof DinoError))
    return `threw ${(error as Error)?.constructor?.name}: ${(error as Error)?.message?.slice(0, 200)}`;
  const raw = RAW.exec(error.message);
  return raw === null ? null : `says ${error.message.slice(0, 200)}`;
}

/** Wrong values in place of a right one: whether each must be refused. */
function* wrongFor(sample: Sample): Generator<{ name: string; value: unknown; mustRefuse: boolean }> {
  const kinds = [kindOf(sample.value), ...sample.also];
  for (const [name, value] of Object.entries(KINDS)) yield { name, value, mustRefuse: !kinds.includes(name) };
  for (const [name, value] of Object.entries(NEVER))
    yield { name, value, mustRefuse: typeof value === 'symbol' || !kinds.includes('any number or text') };
}

async function walk(name: string, entry: Call): Promise<string[]> {
  const found: string[] = [];
  const names = Object.keys(entry.args);
  const right = Object.values(entry.args).map((value, i) =>
    names[i] === 'options'
      ? Object.fromEntries(Object.entries(value as object).map(([key, each]) => [key, plain(each)]))
      : plain(value),
  );
  const tryWith = async (what: string, args: readonly unknown[], mustRefuse: boolean): Promise<void> => {
    const result = await outcome(entry, args);
    if (!result.threw) {
      if (mustRefuse) found.push(`${name}: ${what} was taken`);
      return;
    }
    const wrong = complaint(result.error);
    if (wrong !== null) found.push(`${name}: ${what}: ${wrong}`);
    else if (mustRefuse && !(result.error instanceof ConfigError))
      found.push(`${name}: ${what}: no ConfigError: ${String(result.error)}`);
  };
  const with_ = (i: number, value: unknown): unknown[] => right.map((each, j) => (j === i ? value : each));
  if (entry.required > 0) {
    await tryWith('nothing at all', [], true);
    await tryWith('undefined', right.slice(0, entry.required - 1), true);
  }
  for (const [i, argument] of names.entries()) {
    const sample = argument === 'options' ? sampleOf(right[i]) : sampleOf(Object.values(entry.args)[i]);
    for (const { name: kind, value, mustRefuse } of wrongFor(sample)) {
      // an empty object of options is right where none of them is needed, and then all of the work is done
      if (argument === 'options' && kind === 'object') continue;
      await tryWith(`${argument} = ${kind}`, with_(i, value), mustRefuse);
    }
    if (argument !== 'options') continue;
    const options = entry.args['options'] as Record<string, unknown>;
    for (const [option, each] of Object.entries(options)) {
      for (const { name: kind, value, mustRefuse } of wrongFor(sampleOf(each)))
        await tryWith(
          `options.${option} = ${kind}`,
          with_(i, { ...(right[i] as object), [option]: value }),
          mustRefuse,
        );
      const misspelt = `${option}s`;
      const result = await outcome(entry, with_(i, { ...(right[i] as object), [misspelt]: 1 }));
      const text = result.threw && result.error instanceof ConfigError ? result.error.message : 'taken';
      if (!text.includes(`unknown option ${misspelt} (did you mean ${option}?)`))
        found.push(`${name}: ${misspelt} in place of ${option}: ${text}`);
    }
  }
  return found;
}

describe('wrong arguments', () => {
  before(async () => {
    process.chdir(folder);
    writeTinyRun(at('run'));
    await writeColourFolders(at('images'), 4);
    const model = dino.loadModel(at('run'), { device: 'cpu' });
    await dino.buildIndex(model, at('images'), { output: at('index'), weights: { given: at('run') } });
    const index = dino.ImageIndex.open(at('index'));
    const fitted = await dino.fitClassifier(model, {
      images: at('images'),
      c: [1],
      scaling: 'none',
      numWorkers: 0,
    });
    const layer = { weight: new Float32Array(48), bias: new Float32Array(2), size: 32, layers: 1 };
    const classes = ['a', 'b'].map((name, value) => ({ name, value }));
    const segmenter = new dino.Segmenter(model, { ...layer, classes });
    const { classifier } = fitted;
    fixture = { folder, signal, model, index, classifier, fitted, segmenter };
    dino.exportWeights(at('run'), { format: 'pth', output: at('weights.pth') });
    mkdirSync(at('trained'));
  });
  after(() => {
    fixture.index.close();
    fixture.model.dispose();
    process.chdir(home);
    rmSync(folder, { recursive: true });
  });

  it('every exported function and method is called', () => {
    const known = publicCalls(fixture);
    const missing: string[] = [];
    for (const [name, value] of Object.entries(dino)) {
      if (typeof value !== 'function' || NOT_CALLED.includes(name)) continue;
      if (!(name in known)) missing.push(name);
      for (const method of Object.getOwnPropertyNames(value.prototype ?? {})) {
        const body: unknown = Object.getOwnPropertyDescriptor(value.prototype, method)!.value;
        const full = `${name}.${method}`;
        if (method === 'constructor' || typeof body !== 'function') continue;
        if (!(full in known) && !METHODS_WITHOUT_ARGUMENTS.includes(full)) missing.push(full);
      }
    }
    assert.deepEqual(missing, []);
  });

  it('are refused in plain words, one by one', async () => {
    const found: string[] = [];
    for (const [name, entry] of Object.entries(publicCalls(fixture)))
      found.push(...(await walk(name, entry)));
    assert.equal(found.join('\n'), '');
  });
});
