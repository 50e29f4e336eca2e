/** The programs of bench/ are run by hand and rarely: here only that what they import is still there. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { packageRoot } from '#scripts/find-libtorch.mjs';

const folder = path.join(packageRoot, 'bench');
const programs = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
  name.endsWith('.mjs'),
);

test('what a benchmark imports from the package is exported there', async () => {
  const missing: string[] = [];
  let seen = 0;
  for (const program of programs) {
    const place = path.join(folder, program);
    for (const [, names = '', from = ''] of readFileSync(place, 'utf8').matchAll(
      /import \{([^}]*)\} from '(\.[^']*)'/g,
    )) {
      const source = path.resolve(path.dirname(place), from);
      if (!source.startsWith(path.join(packageRoot, 'dist'))) continue;
      const found = (await import(pathToFileURL(source).href)) as Record<string, unknown>;
      for (const name of names.split(',').map((one) => one.trim().split(' as ')[0]!)) {
        if (name === '') continue;
        seen++;
        if (!(name in found)) missing.push(`bench/${program}: ${name} from ${from}`);
      }
    }
  }
  assert.ok(seen > 50, `${seen} imports were found`);
  assert.deepEqual(missing, []);
});
