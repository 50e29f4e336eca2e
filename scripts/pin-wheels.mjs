/**
 * Writes scripts/torch-wheels.json: SHA-256 and size of the wheels that `dino setup` fetches, and the SHA-256 of their RECORD,
 * for every platform. For a new version of PyTorch: `node scripts/pin-wheels.mjs`. It trusts what the index says now.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fetchRange } from './download.mjs';
import { CUDA_LIBRARIES } from './fetch-libtorch.mjs';
import { packageRoot, TORCH_VERSION } from './find-libtorch.mjs';
import { chooseWheel, indexSettings, listProject } from './python-index.mjs';
import { directoryPlace, readDirectory, readMember, TAIL_BYTES } from './wheel.mjs';

const MACHINES = ['linux-x64', 'linux-arm64', 'darwin-arm64', 'win32-x64'];
const settings = indexSettings();
const http = { ...settings, env: process.env };
const folder = mkdtempSync(path.join(os.tmpdir(), 'dino-pins-'));

async function pinOf({ filename, url, size, sha256 }) {
  const read = (start, end) => fetchRange(url, start, end, http);
  const place = directoryPlace(await read(Math.max(0, size - TAIL_BYTES), size), size, filename);
  const members = readDirectory(await read(place.start, place.end), place, filename);
  const record = members.find(({ name }) => name.endsWith('.dist-info/RECORD'));
  const part = path.join(folder, 'record');
  writeFileSync(part, await read(record.start, record.end));
  return { sha256, bytes: size, record: (await readMember(part, -record.start, record)).sha256 };
}

try {
  const pins = {};
  for (const [project, version] of [['torch', TORCH_VERSION], ...CUDA_LIBRARIES]) {
    const files = await listProject(project, settings);
    for (const machine of MACHINES.filter((name) => project === 'torch' || name.startsWith('linux-'))) {
      const wheel = chooseWheel(files, { version, machine });
      if (wheel === null) throw new Error(`the index has no ${project} ${version} for ${machine}`);
      pins[wheel.filename] = await pinOf(wheel);
    }
  }
  writeFileSync(path.join(packageRoot, 'scripts', 'torch-wheels.json'), `${JSON.stringify(pins, null, 2)}\n`);
  console.log(Object.keys(pins).join('\n'));
} finally {
  rmSync(folder, { recursive: true });
}
