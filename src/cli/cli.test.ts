/** The command line as a user sees it: processes, exit codes, stdout and stderr. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const bin = fileURLToPath(new URL('../../bin/dino.js', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-cli-'));
after(() => rmSync(folder, { recursive: true }));

function dino(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...args], { encoding: 'utf8' });
  return { status, stdout, stderr };
}

const COMMANDS = [
  ['train'],
  ['slurm'],
  ['eval', 'knn'],
  ['eval', 'quality'],
  ['eval', 'video-segmentation'],
  ['eval', 'linear'],
  ['eval', 'attention-segmentation'],
  ['eval', 'retrieval'],
  ['eval', 'copy-detection'],
  ['embed'],
  ['attention'],
  ['video'],
  ['export'],
  ['hub'],
  ['info'],
  ['doctor'],
  ['demo'],
];

describe('dino', () => {
  it('lists its commands, also without --help', () => {
    const help = dino('--help');
    assert.equal(help.status, 0);
    for (const [name] of COMMANDS) assert.match(help.stdout, new RegExp(`\\n  ${name} `));
    const bare = dino();
    assert.equal(bare.status, 2);
    assert.match(bare.stderr, /needs a command/);
    assert.equal(bare.stdout, '');
  });

  it('answers --help fast', () => {
    // 0.2 s is promised. Other tests may share the machine, so what is measured is the time beyond Node's own start.
    const time = (...args: string[]): number => {
      const start = performance.now();
      spawnSync(process.execPath, args);
      return performance.now() - start;
    };
    const bare: number[] = [];
    const help: number[] = [];
    for (let i = 0; i < 7; i++) {
      bare.push(time('--eval', ''));
      help.push(time(bin, '--help'));
    }
    const beyond = Math.min(...help) - Math.min(...bare);
    assert.ok(
      beyond < 120,
      `${beyond.toFixed(0)} ms beyond an empty program's ${Math.min(...bare).toFixed(0)} ms`,
    );
  });

  it('has help with an example for every command', () => {
    for (const command of COMMANDS) {
      const { status, stdout } = dino(...command, '--help');
      assert.equal(status, 0, command.join(' '));
      assert.equal(stdout.split('Usage:').length, 2, 'once');
      assert.match(stdout, new RegExp(`Example:\\n  dino ${command.join(' ')}`));
      assert.match(stdout, /--json/);
    }
  });

  it('names the nearest command', () => {
    const { status, stderr } = dino('trian');
    assert.equal(status, 2);
    assert.match(stderr, /unknown command trian \(did you mean train\?\)/);
    assert.equal(dino('eval', 'nkn').status, 2);
    assert.match(dino('knn').stderr, /unknown command knn \(did you mean eval knn\?\)/);
    assert.match(dino('predict').stderr, /\(did you mean classify predict or segment predict\?\)/);
    assert.match(dino('--version').stdout, /^\d+\.\d+\.\d+\n$/);
  });

  it('reports every wrong flag, setting and missing argument at once, before anything starts', () => {
    const config = path.join(folder, 'bad.json');
    writeFileSync(config, JSON.stringify({ epoch: 3, out_dim: 0 }));
    const { status, stdout, stderr } = dino(
      ...[
        'train',
        '--config',
        config,
        '--patch_size',
        '16',
        '--global-crops-size',
        '8',
        '--lr',
        '-1',
        '--epcohs',
        '2',
      ],
    );
    assert.equal(status, 2);
    assert.equal(stdout, '');
    for (const pattern of [
      /argument <images> is missing/,
      /bad\.json: unknown setting epoch \(did you mean epochs\?\)/,
      /bad\.json: out_dim is 0; expected at least 2/,
      /--lr is -1; expected at least 0/,
      /globalCropsSize 8 is smaller than patchSize 16/,
      /unknown flag --epcohs \(did you mean --epochs\?\)/,
    ]) {
      assert.match(stderr, pattern);
    }
    assert.ok(!stderr.includes('    at '), 'no stack for a user error');
  });

  it('gives errors as JSON too', () => {
    const { status, stdout } = dino('info', path.join(folder, 'absent'), '--json');
    assert.equal(status, 1);
    const { error } = JSON.parse(stdout) as { error: { code: string; message: string } };
    assert.equal(error.code, 'CHECKPOINT');
    assert.match(error.message, /does not exist/);
  });

  it('refuses bad options of every command with exit code 2', () => {
    for (const args of [
      ['train', 'a', 'b', '--output', 'c'],
      ['train', 'a', '--output', 'c', '--preset', 'best'],
      ['train', 'a', '--output', 'c', '--config', path.join(folder, 'absent.json')],
      ['eval', 'knn', 'w'],
      ['eval', 'knn', 'w', '--train', 'a', '--val', 'b', '--k', '0'],
      ['eval', 'knn', '--train', 'a', '--val', 'b'],
      ['eval', 'knn', 'w', '--load-features', 'a'],
      ['eval', 'linear', 'w', '--train', 'a'],
      ['eval', 'retrieval', 'w'],
      ['eval', 'copy-detection', 'w', '--imsize', '0'],
      ['eval', 'linear', 'w', '--data-path', 'a', '--evaluate'],
      ['eval', 'linear', 'w', '--data-path', 'a', '--lr', '0'],
      ['embed', 'w', 'i', '--output', 'features.txt'],
      ['embed', 'w', 'i', '--output', 'f.npy', '--layers', '0'],
      ['attention', 'w', '--output', 'o'],
      ['attention', 'w', 'i', '--output', 'o', '--threshold', '2'],
      ['export', 'w', '--format', 'pth'],
      ['export', 'w', '--output', 'o', '--format', 'pickle'],
      ['hub', 'vits16'],
      ['info'],
      ['doctor', '--fast'],
    ]) {
      const { status, stderr } = dino(...args);
      assert.equal(status, 2, `${args.join(' ')}: ${stderr}`);
    }
  });
});
