/** Printed commands, run by a shell as if a person had pasted them, with folders that have hostile names. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { packageRoot } from '../../scripts/find-libtorch.mjs';
import { ImageIndex } from '../explore/image-index.js';
import { shellPath, shellWord } from './shell.js';
import { stateOf } from '../studio/run-state.js';
import { makeImageFolder } from '../testing/image-folder.js';

const root = packageRoot;
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-shell-'));
after(() => rmSync(folder, { recursive: true }));

const HOSTILE = [
  'two words',
  `it's "quoted"`,
  '$HOME `touch pwned` $(touch pwned) & ; | > <',
  'a\nb; touch pwned',
  '-rf',
  '--output',
  '*?[a] {b,c} ~ !1 # \\ %',
  '~root',
  '=ls',
  'é 中',
  "'",
];

const shells = ['sh', 'bash', 'zsh'].filter((name) => spawnSync(name, ['-c', 'true']).status === 0);

/** The arguments that programs would get if a shell ran this. The programs are replaced by functions that print them. */
function argumentsOf(shell: string, command: string): string[] {
  const functions = ['dino', 'npx', 'sbatch'].map((name) => `${name}() { printf '%s\\0' "$@"; }`).join('\n');
  const { stdout, stderr, status } = spawnSync(shell, ['-c', `${functions}\n${command}`], {
    ...{ cwd: folder, encoding: 'utf8' },
  });
  assert.equal(status, 0, `${shell}: ${command}: ${stderr}`);
  assert.ok(!existsSync(path.join(folder, 'pwned')), `${shell} ran what was a name: ${command}`);
  return stdout.split('\0').slice(0, -1);
}

describe('a word', () => {
  it('is read back unchanged by every shell, and a path is not a flag', () => {
    assert.ok(shells.includes('sh'));
    for (const shell of shells) {
      const words = [...HOSTILE, '', 'plain/a.b', '--flag=a b'];
      assert.deepEqual(argumentsOf(shell, `dino ${words.map(shellWord).join(' ')}`), words, shell);
      for (const name of HOSTILE) {
        const [found] = argumentsOf(shell, `dino ${shellPath(name)}`);
        assert.equal(path.resolve(folder, found!), path.join(folder, name), shell);
        assert.ok(!found!.startsWith('-'));
      }
    }
  });
});

describe('a printed command', () => {
  it('after training names its run, whatever it is called', { timeout: 120_000 }, async () => {
    const images = path.join(folder, 'images');
    await makeImageFolder(images, { classes: 2, perClass: 4 });
    const small =
      '--embed-dim 32 --depth 2 --num-heads 2 --out-dim 32 --threads 1 --batch-size 4 --epochs 1 --device cpu';
    for (const name of [`it's $(touch pwned) "x"\n\`touch pwned\``, '-rf']) {
      const { stdout, stderr, status } = spawnSync(
        process.execPath,
        [path.join(root, 'bin', 'dino.js'), 'train', images, `--output=${name}`, ...small.split(' ')],
        { cwd: folder, encoding: 'utf8' },
      );
      assert.equal(status, 0, stderr);
      const commands = stdout.slice(stdout.indexOf('next:\n') + 'next:\n'.length);
      const words = argumentsOf('sh', commands);
      assert.deepEqual(words[0], 'attention');
      const runs = words.filter(
        (_, i) => ['attention', 'embed'].includes(words[i - 1] ?? '') || words[i - 2] === 'eval',
      );
      assert.equal(runs.length, 3, commands);
      for (const run of runs) assert.equal(path.resolve(folder, run), path.join(folder, name));
    }
  });

  it('in a sentence or an error does so too', () => {
    for (const name of HOSTILE) {
      const place = path.join(folder, 'at', name);
      const signs = { lock: null, step: null, totalSteps: null, changed: null, interval: null };
      const { sentence } = stateOf(signs, place);
      const resume = sentence.slice(sentence.indexOf('dino train'));
      assert.deepEqual(argumentsOf('sh', resume), ['train', '--resume', place]);
      mkdirSync(place, { recursive: true });
      writeFileSync(path.join(place, 'index.json'), '{');
      assert.throws(
        () => ImageIndex.open(place),
        (error: Error) => {
          const again = error.message.slice(error.message.lastIndexOf('dino index'));
          assert.deepEqual(argumentsOf('sh', again), ['index', 'WEIGHTS', 'IMAGES', '--output', place]);
          return true;
        },
      );
    }
  });

  it('is quoted wherever one is printed', () => {
    const bare: string[] = [];
    for (const part of ['src', path.join('web', 'src')])
      for (const name of readdirSync(path.join(root, part), { recursive: true, encoding: 'utf8' })) {
        if (!/(?<!\.test)\.tsx?$/.test(name) || name.startsWith('testing')) continue;
        const text = readFileSync(path.join(root, part, name), 'utf8');
        // `dino COMMAND WORDS ${something}` in a template, and <code>dino COMMAND WORDS {something}</code>
        const command =
          '(?<![-\\w])(?:dino (?:train|attention|embed|index|eval|search|export|info|studio)|npx|sbatch)';
        const printed = new RegExp(
          `${command}(?: (?!refused)[\\w-]+)* (?:\\$|(?<=<code>.*))\\{(?!shellPath\\()[^}]*\\}`,
          'g',
        );
        for (const [found] of text.matchAll(printed)) bare.push(`${path.join(part, name)}: ${found}`);
      }
    assert.deepEqual(bare, []);
  });
});
