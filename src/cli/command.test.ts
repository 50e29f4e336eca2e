import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { DataError, ConfigError } from '../errors.js';
import { defineCommand, readLine } from './command.js';
import { decimal, flagsOf, imageSize, scanFlags, whole } from './flags.js';
import { formatDuration } from '../plain/units.js';
import { describeError } from '../files/describe-error.js';

const table = {
  output: z.string().meta({ short: '-o', missing: 'a folder', aliases: ['--output-dir'] }),
  json: z.boolean().default(false),
  outDim: whole(2, 99).default(16).describe('outputs'),
  lr: decimal(0).optional(),
  normLastLayer: z.boolean().default(false).meta({ placeholder: '<true|false>' }),
  globalCropsScale: z.tuple([z.number(), z.number()]).optional(),
  watchImages: z.array(z.string()).min(1).optional(),
};
const scan = (line: string) => scanFlags(line.split(' '), flagsOf(table));

describe('scanFlags', () => {
  it("takes the reference's spelling", () => {
    const line = 'photos --out_dim 256 --norm_last_layer false --global_crops_scale 0.14 1. --json';
    assert.deepEqual(scan(line), {
      argv: ['photos', '--out-dim=256', '--norm-last-layer=false', '--global-crops-scale=0.14,1.', '--json'],
      problems: [],
    });
  });

  it('reads booleans alone, with a word, with = and negated, and leaves arguments alone', () => {
    assert.deepEqual(scan('--norm-last-layer photos').argv, ['--norm-last-layer=true', 'photos']);
    assert.deepEqual(scan('--norm-last-layer=off photos').argv, ['--norm-last-layer=off', 'photos']);
    assert.deepEqual(scan('--no-norm-last-layer photos').argv, ['--norm-last-layer=false', 'photos']);
  });

  it('does not swallow an argument after a list, and takes negative numbers', () => {
    assert.deepEqual(scan('--global-crops-scale 0.4 1 photos').argv, [
      '--global-crops-scale=0.4,1',
      'photos',
    ]);
    assert.deepEqual(scan('--lr -1 photos').argv, ['--lr=-1', 'photos']);
    assert.deepEqual(scan('-o run --output other').argv, ['--output=run', '--output=other']);
  });

  it('takes all words up to the next flag where an option takes several', () => {
    assert.deepEqual(scan('photos --watch-images a.jpg b,c.jpg --lr 1').argv, [
      'photos',
      '--watch-images=a.jpg\nb,c.jpg',
      '--lr=1',
    ]);
    assert.deepEqual(scan('--watch-images --json').problems, ['--watch-images needs a value']);
  });

  it('names all unknown flags at once with the nearest, and values that are missing', () => {
    const { problems } = scan('photos --outdim 3 --jsn --lr --no-output --zzz -q');
    assert.deepEqual(problems, [
      'unknown flag --outdim (did you mean --out-dim?)',
      'unknown flag --jsn (did you mean --json?)',
      '--lr needs a value',
      'unknown flag --no-output (did you mean --output?)',
      'unknown flag --zzz',
      'unknown flag -q',
    ]);
  });

  it('applies aliases, and stops at --', () => {
    assert.deepEqual(scan('--output_dir run').argv, ['--output=run']);
    assert.deepEqual(scan('-- --weird').argv, ['--', '--weird']);
  });
});

describe('readLine', () => {
  const command = defineCommand({
    args: { weights: z.string().describe('a run'), image: z.array(z.string()).min(1).optional() },
    options: {
      ...table,
      kind: z.enum(['cls', 'patches']).default('cls').describe('of feature'),
      imageSize: imageSize().optional(),
      minus: z.array(z.string()).default([]).meta({ repeated: true, placeholder: '<image>' }),
      names: z
        .string()
        .transform((text) => text.split(','))
        .optional(),
      open: z.boolean().default(true).describe('stay closed'),
    },
    examples: ['dino x run'],
    rules: ({ args, options: { lr, outDim } }) =>
      lr === 0 ? [`--lr 0 with ${String(outDim)} outputs of ${String(args.weights)}`] : [],
    run: () => undefined,
  });
  const read = (...tokens: string[]) => readLine(command, 'dino x', tokens);

  it('gives typed values: defaults, lists, words, switches, and nothing for what was not given', async () => {
    const { args, options: plain, problems } = await read('run', '--output', 'o');
    assert.deepEqual(problems, []);
    assert.deepEqual(args, { weights: 'run' });
    assert.deepEqual(plain, {
      ...{ output: 'o', outDim: 16, normLastLayer: false, kind: 'cls', minus: [], open: true, json: false },
    });
    const { args: more, options: given } = await read(
      ...[
        'run',
        'a\nb.jpg',
        'c.jpg',
        '-o',
        'o',
        '--out-dim',
        '32',
        '--lr=1e-3',
        '--norm_last_layer',
        '--json',
      ],
      ...[
        '--global-crops-scale',
        '0.4',
        '1',
        '--watch-images',
        'a',
        'b',
        '--image-size',
        '48,64',
        '--no-open',
      ],
      ...['--minus', 'x', '--names', 'p,q', '--minus', 'y', '--kind', 'patches'],
    );
    assert.deepEqual(more, { weights: 'run', image: ['a\nb.jpg', 'c.jpg'] });
    assert.deepEqual(given, {
      ...{ output: 'o', outDim: 32, lr: 0.001, normLastLayer: true, json: true, open: false },
      ...{ globalCropsScale: [0.4, 1], watchImages: ['a', 'b'], imageSize: [48, 64] },
      ...{ minus: ['x', 'y'], names: ['p', 'q'], kind: 'patches' },
    });
    assert.equal((await read('run', '-o', 'o', '--image-size', '48')).options.imageSize, 48);
  });

  it('reports all that is wrong at once, rules between options too, of those that are right', async () => {
    const wrong = await read(
      '--out-dim',
      '1',
      '--lr',
      '0',
      '--kind',
      'pixels',
      '--image-size',
      '1',
      '2',
      '3',
    );
    assert.deepEqual(wrong.problems, [
      '--output is missing: a folder',
      '--out-dim is 1; expected a whole number, 2 to 99',
      '--kind is pixels; expected one of cls, patches',
      '--image-size is 1,2,3; expected one number or two',
      'argument <weights> is missing',
      '--lr 0 with undefined outputs of undefined',
    ]);
    const plain = defineCommand({ options: {}, examples: [], run: () => undefined });
    const { problems } = await readLine(plain, 'dino y', ['a', '--jsn']);
    assert.deepEqual(problems, [
      'unknown flag --jsn (did you mean --json?)',
      'unexpected argument a; expected options only',
    ]);
  });

  it('names a few of the arguments that are too many, as of `photos/*`, and what the command takes', async () => {
    const args = { images: z.string().describe('folder of images or text file of paths') };
    const one = defineCommand({ args, options: {}, examples: [], run: () => undefined });
    const { problems } = await readLine(one, 'dino y', ['a', 'b', 'c\n', 'd', 'e', 'f']);
    assert.deepEqual(problems, [
      'unexpected arguments b, c\\n, d and 2 more; expected <images>: folder of images or text file of paths',
    ]);
  });

  it('writes the help from the tables', async () => {
    const { help } = await read('--help');
    for (const part of [
      'Usage: dino x [options] <weights> [image...]',
      /-o, --output <value>\n/,
      /--out-dim <n> +outputs \(default: 16\)/,
      /--kind <value> +of feature \(one of cls, patches; default: cls\)/,
      /--watch-images <value\.\.\.>/,
      /--no-open +stay closed\n/,
      /--json +print one JSON object/,
      /Example:\n {2}dino x run\n$/,
    ])
      assert.match(
        help ?? '',
        typeof part === 'string' ? new RegExp(part.replaceAll(/[[\].]/g, '\\$&')) : part,
      );
  });
});

describe('describeError', () => {
  it('knows whose fault it is', () => {
    assert.deepEqual(describeError(new ConfigError(['a', 'b'])), {
      text: '2 problems:\n  - a\n  - b',
      code: 'CONFIG',
      exitCode: 2,
    });
    assert.equal(describeError(new DataError('no images')).exitCode, 1);
    assert.match(describeError(new TypeError('x is undefined')).text, /^internal: x is undefined/);
    const system = Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC', syscall: 'write' });
    assert.deepEqual(describeError(system), {
      text: 'ENOSPC: no space left: the disk is full; free some space',
      code: 'ENOSPC',
      exitCode: 1,
    });
  });
});

describe('formatDuration', () => {
  it('rounds to what matters', () => {
    assert.deepEqual([9.4, 65, 3725, 59.7, Infinity].map(formatDuration), [
      '9s',
      '1m05s',
      '1h02m',
      '1m00s',
      '?',
    ]);
  });
});
