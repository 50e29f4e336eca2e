/** The folders tell what depends on what: scripts/rooms.mjs has the rule. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { packageRoot } from '#scripts/find-libtorch.mjs';
import { docsWithTable, problems } from '#scripts/rooms.mjs';

test('a room imports only from those above it, pages import what runs in a browser, and there is no circle', () => {
  assert.deepEqual(problems(), []);
});

test('the table of the rooms in docs/architecture.md is that of the sources', async () => {
  const docs = readFileSync(path.join(packageRoot, 'docs', 'architecture.md'), 'utf8');
  assert.equal(await docsWithTable(), docs, 'run node scripts/rooms.mjs --write');
});
