/** `dino studio` and `dino train --studio`, as processes. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { makeImageFolder } from '../../testing/image-folder.js';

const bin = fileURLToPath(new URL('../../../bin/dino.js', import.meta.url));
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-cli-studio-'));
const images = path.join(folder, 'images');
before(() => makeImageFolder(images, { classes: 2, perClass: 10 }));
after(() => rmSync(folder, { recursive: true }));

interface Started {
  /** Resolves with the first part of what is printed that matches. */
  printed(pattern: RegExp): Promise<RegExpExecArray>;
  interrupt(): void;
  ended: Promise<number | null>;
}

const start = (...args: string[]): Started =>
  follow(spawn(process.execPath, [bin, ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] }));

function follow(child: ChildProcess): Started {
  let text = '';
  let look = (): void => undefined;
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      look();
    });
  }
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  return {
    ended,
    interrupt: () => child.kill('SIGINT'),
    printed: (pattern) =>
      new Promise((resolve, reject) => {
        look = () => {
          const found = pattern.exec(text);
          if (found !== null) resolve(found);
        };
        look();
        void ended.then(() => reject(new Error(`it ended, and printed: ${text}`)));
      }),
  };
}

/** Waits until a studio is not there any more. */
async function gone(origin: string): Promise<void> {
  for (let left = 100; left > 0; left--) {
    const isUp = await fetch(origin).then(
      () => true,
      () => false,
    );
    if (!isUp) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail('the studio is still there');
}

const runsOf = async (origin: string, token: string): Promise<{ state: string; path: string }[]> => {
  const response = await fetch(`${origin}/api/runs`, { headers: { authorization: `Bearer ${token}` } });
  assert.equal(response.status, 200);
  return (await response.json()) as { state: string; path: string }[];
};

describe('dino studio', () => {
  it('prints its link, serves, and ends with Ctrl-C', { timeout: 30_000 }, async () => {
    const studio = start('studio', folder, '--port', '0', '--json');
    const { origin, token } = JSON.parse((await studio.printed(/^\{.*\}$/m))[0]) as {
      origin: string;
      token: string;
    };
    assert.deepEqual(await runsOf(origin, token), []);
    studio.interrupt();
    assert.equal(await studio.ended, 130);
    await assert.rejects(fetch(origin));
  });

  it('warns when others can reach it, and names every wrong flag', { timeout: 30_000 }, async () => {
    const open = start('studio', folder, '--port', '0', '--host', '0.0.0.0', '--no-open');
    await open.printed(/others on the network can reach this studio/);
    open.interrupt();
    await open.ended;
    const wrong = start('studio', '--port', '70000', '--hots', 'x');
    await assert.rejects(wrong.printed(/never/), /unknown flag --hots[\s\S]*--port is 70000/);
  });
});

describe('dino train --studio', () => {
  it('shows the training while it runs, and ends with it', { timeout: 60_000 }, async () => {
    const small = [
      '--embed-dim',
      '32',
      '--depth',
      '2',
      '--num-heads',
      '2',
      '--out-dim',
      '32',
      '--threads',
      '1',
    ];
    const more = ['--batch-size', '4', '--epochs', '4000', '--device', 'cpu', '--studio'];
    const training = start('train', images, '--output', 'run', ...small, ...more);
    const [, origin, token] = await training.printed(/studio: (http:\S+)\/open\?token=(\S+)/);
    await training.printed(/step 20\//);
    const [run] = await runsOf(origin!, token!);
    assert.equal(run?.state, 'running');
    training.interrupt();
    assert.equal(await training.ended, 130);
    await gone(origin!);
  });

  it('stays after the training in a terminal, until Ctrl-C', { timeout: 120_000 }, async (t) => {
    if (spawnSync('script', ['--version']).error !== undefined)
      return t.skip('there is no program script to make a terminal');
    const small =
      '--embed-dim 32 --depth 2 --num-heads 2 --out-dim 32 --threads 1 --batch-size 4 --epochs 2 --device cpu';
    const command = [
      process.execPath,
      bin,
      'train',
      images,
      '--output',
      'stays',
      ...small.split(' '),
      '--studio',
    ]
      .map((word) => `'${word}'`)
      .join(' ');
    // nobody's browser is opened
    const env = { ...process.env, BROWSER: 'true', CI: '' };
    const child = spawn('script', ['--quiet', '--return', '--command', `exec ${command}`, '/dev/null'], {
      ...{ cwd: folder, env, stdio: ['pipe', 'pipe', 'pipe'] },
    });
    const terminal = follow(child);
    const [, origin, token] = await terminal.printed(/studio: (http:\S+)\/open\?token=([\w-]+)/);
    await terminal.printed(/the studio stays open[\s\S]*Ctrl-C ends it/);
    const [run] = await runsOf(origin!, token!);
    assert.equal(run?.state, 'finished');
    child.stdin.write('\x03');
    assert.equal(await terminal.ended, 0, 'the training was done');
    await gone(origin!);
  });
});
