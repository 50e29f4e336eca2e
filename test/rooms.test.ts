/** The folders tell what depends on what: scripts/rooms.mjs has the rule. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { outdated, problems } from '#scripts/rooms.mjs';

test('a room imports only from those above it, pages import what runs in a browser, and there is no circle', () => {
  assert.deepEqual(problems(), []);
});

test('the table and the picture in docs/architecture.md are those of the sources', async () => {
  assert.deepEqual(await outdated(), []);
});
