import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasWildcards, wildcardExpression } from './wildcards.js';

test('wildcards match whole names; all other characters stand for themselves', () => {
  const names = ['a.tar', 'ab.tar', 'xa.tar', 'a.tarx', 'aXtar', 'a\nb.tar', 'a+(1).tar'];
  const matching = (pattern: string) => names.filter((name) => wildcardExpression(pattern).test(name));
  assert.deepEqual(matching('a*.tar'), ['a.tar', 'ab.tar', 'a\nb.tar', 'a+(1).tar']);
  assert.deepEqual(matching('a?.tar'), ['ab.tar']);
  assert.deepEqual(matching('?a.tar'), ['xa.tar']);
  assert.deepEqual(matching('a+(*).tar'), ['a+(1).tar']);
  assert.deepEqual(matching('a.tar'), ['a.tar']);
  assert.deepEqual(matching('*'), names);
  assert.equal(wildcardExpression('[a]^$|\\{1}').test('[a]^$|\\{1}'), true);
  assert.deepEqual(['a*', '?', 'a.tar', '{a,b}'].map(hasWildcards), [true, true, false, false]);
});
