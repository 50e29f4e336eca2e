import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Command } from 'commander';
import { DataError, ConfigError } from '../errors.js';
import { booleanOption, listOption, scanFlags, wordsOption } from './command.js';
import { formatDuration } from '../plain/units.js';
import { describeError } from '../files/describe-error.js';

function options() {
  const command = new Command();
  command.option('-o, --output <folder>').option('--json').option('--out-dim <n>').option('--lr <n>');
  command.addOption(booleanOption(command.createOption('--norm-last-layer <true|false>')));
  command.addOption(listOption(command.createOption('--global-crops-scale <n,n>')));
  command.addOption(wordsOption(command.createOption('--watch-images <image...>')));
  return command.options;
}
const scan = (line: string, aliases = {}) => scanFlags(line.split(' '), options(), aliases);

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
    assert.deepEqual(scan('--output_dir run', { '--output-dir': '--output' }).argv, ['--output=run']);
    assert.deepEqual(scan('-- --weird').argv, ['--', '--weird']);
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
