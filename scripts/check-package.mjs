/**
 * Checks dino-ts as it would be published, by publint and by arethetypeswrong, on the tarball that scripts/package.mjs makes;
 * a part of `npm run check`.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { packageRoot } from './find-libtorch.mjs';
import { packMain } from './package.mjs';

/** Anything that is in it by mistake, such as tests, sources or another copy of onnxruntime, would make it larger than this. */
const MAX_BYTES = 12e6;

const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-check-'));
let failed = false;
const fail = (line) => {
  failed = true;
  console.error(line);
};
try {
  const { file, bytes, unpacked, files } = packMain(folder);
  console.log(
    `${path.basename(file)}: ${(bytes / 1e6).toFixed(2)} MB, ${(unpacked / 1e6).toFixed(2)} MB unpacked, ${files} files`,
  );
  if (bytes > MAX_BYTES) fail(`the package has more than ${MAX_BYTES / 1e6} MB`);

  execFileSync('tar', ['-xzf', file, '-C', folder]);
  const { messages, pkg } = await publint({ pkgDir: path.join(folder, 'package'), strict: true });
  for (const message of messages) fail(`publint: ${formatMessage(message, pkg)}`);

  const attw = path.join(packageRoot, 'node_modules', '@arethetypeswrong', 'cli', 'dist', 'index.js');
  // modules only: what require() gets on Node 20.19 and newer is the same module
  const checked = spawnSync(process.execPath, [attw, file, '--profile', 'esm-only', '--format', 'ascii'], {
    encoding: 'utf8',
  });
  if (checked.status !== 0) fail(`${checked.stdout}${checked.stderr}`);
} finally {
  rmSync(folder, { recursive: true });
}
if (failed) process.exitCode = 1;
