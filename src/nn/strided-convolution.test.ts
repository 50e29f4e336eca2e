/** 1 x 1 convolutions that skip pixels, with few channels: oneDNN's gradient of their weights writes past its memory. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { VECTOR_LEVELS } from '../testing/vector-levels.js';

const child = fileURLToPath(new URL('../testing/strided-child.js', import.meta.url));
for (const [level, variables] of Object.entries(VECTOR_LEVELS)) {
  test(`a 1 x 1 convolution of few channels that skips pixels has its gradient, at ${level}`, async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [child], {
      env: { ...process.env, ...variables },
      timeout: 60_000, // a hang
    });
    const found = JSON.parse(stdout) as number[];
    assert.equal(found.length, 20);
    assert.ok(Math.max(...found) < 1e-4, `off by ${Math.max(...found)}`);
  });
}
