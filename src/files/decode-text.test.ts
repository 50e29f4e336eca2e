import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeText } from './decode-text.js';

test('a byte-order mark says the encoding, and is not part of the text', () => {
  const text = '{"epochs": 3, "é": "🦕"}';
  const little = Buffer.from(`\uFEFF${text}`, 'utf16le');
  assert.equal(decodeText(Buffer.from(text)), text);
  assert.equal(decodeText(Buffer.from(`\uFEFF${text}`)), text);
  assert.equal(decodeText(little), text);
  assert.equal(decodeText(Buffer.from(little).swap16()), text);
  assert.equal(decodeText(new Uint8Array()), '');
});
