/**
 * Fetches libtorch for the CPU into the user's cache folder: the libraries in PyTorch's wheel, with Node alone. Of a wheel in
 * scripts/torch-wheels.json only the needed parts are downloaded (a quarter of it on Linux): its RECORD must have the SHA-256
 * noted there, and every file that in the RECORD. Of any other wheel the whole file is, and must have the SHA-256 that the
 * index gives.
 *
 * What was downloaded is kept until all of it is there, so that an interrupted fetch goes on where it stopped; the folder
 * appears whole, by renaming.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
} from 'node:fs';
import path from 'node:path';
import { download, fetchRange, NoRanges, shown } from './download.mjs';
import {
  cachedCopyDirectory,
  inspectLibtorch,
  libraryName,
  machineName,
  TORCH_VERSION,
} from './find-libtorch.mjs';
import { lock } from './lock.mjs';
import { chooseWheel, indexSettings, listProject } from './python-index.mjs';
import { explainWriting, SetupError } from './setup-error.mjs';
import { directoryPlace, readDirectory, readMember, readRecord, TAIL_BYTES, unpackMember } from './wheel.mjs';

/** SHA-256 and size of wheels whose contents are known, and the SHA-256 of their RECORD. */
const KNOWN_WHEELS = JSON.parse(readFileSync(new URL('torch-wheels.json', import.meta.url), 'utf8'));

/** What libtorch_cpu.so links to beside itself, on Linux; builds for the CPU alone don't. */
export const CUDA_LIBRARIES = [
  ['nvidia-cuda-runtime', '13.2.*'],
  ['nvidia-cuda-cupti', '13.2.*'],
];

/** Libraries of PyTorch's that the addon doesn't load: CUDA's, Python's, and stubs. */
const NOT_NEEDED =
  /^(lib)?(torch_cuda|torch_cuda_linalg|torch_nvshmem|torch_python|torch_global_deps|c10_cuda|caffe2_nvrtc|shm|torch)\.|_cuda_linalg\.|iompstubs|\.pdb$/;
const NEEDED_OF_CUDA = /^nvidia\/[^/]+\/lib\/lib(cudart|cupti)\.so\.\d+$/;
const ABOUT = /\.dist-info\/(METADATA|LICENSE[^/]*|NOTICE[^/]*|licenses\/.+)$/;

/** Which members of a wheel are kept. */
function isKept(name, { library, headers }) {
  if (headers && (/^torch\/include\//.test(name) || /^torch\/lib\/(torch_cpu|c10)\.lib$/.test(name)))
    return true;
  if (!library) return false;
  const lib = /^torch\/lib\/([^/]+)$/.exec(name)?.[1];
  if (lib !== undefined) return !NOT_NEEDED.test(lib) && !lib.endsWith('.lib');
  return name === 'torch/version.py' || NEEDED_OF_CUDA.test(name) || ABOUT.test(name);
}

const megabytes = (bytes) => `${Math.ceil(bytes / 1e6)} MB`;

function readFrom(file, start, end) {
  const bytes = Buffer.alloc(end - start);
  const handle = openSync(file, 'r');
  try {
    let have = 0;
    while (have < bytes.length) {
      const got = readSync(handle, bytes, have, bytes.length - have, start + have);
      if (got === 0) throw new SetupError(`${file} is cut off`);
      have += got;
    }
  } finally {
    closeSync(handle);
  }
  return bytes;
}

async function sha256Of(file) {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk);
  return hash.digest('hex');
}

/** Members that lie near to each other, to be downloaded in one request: `gap` is how much between them may be wasted. */
function segments(members, gap = 2 ** 19) {
  const result = [];
  for (const member of members) {
    const last = result.at(-1);
    if (last !== undefined && member.start - last.end <= gap) {
      last.end = member.end;
      last.members.push(member);
    } else result.push({ start: member.start, end: member.end, members: [member] });
  }
  return result;
}

/** Reads a wheel's directory through `read(start, end)`. */
async function directoryOf(name, size, read) {
  const place = directoryPlace(await read(Math.max(0, size - TAIL_BYTES), size), size, name);
  return readDirectory(await read(place.start, place.end), place, name);
}

function recordIn(members, name) {
  const record = members.find((member) => /^[^/]+\.dist-info\/RECORD$/.test(member.name));
  if (record === undefined) throw new SetupError(`${name} is not a wheel: it has no RECORD`);
  return record;
}

/**
 * What to download of a wheel: { parts: [{ start, end, file, offset }], members, bytes, unpacked }. In parts where its
 * contents are known and the server allows it, else whole.
 */
async function planWheel(wheel, kept, known, http) {
  const { filename } = wheel;
  const pin = known[filename];
  if (pin !== undefined && wheel.sha256 !== null && wheel.sha256 !== pin.sha256)
    throw new SetupError(
      `the index lists a ${filename} that is not the one published: its SHA-256 is ${wheel.sha256}, expected ${pin.sha256}`,
    );
  const sha256 = pin?.sha256 ?? wheel.sha256;
  const whole = { wheel, sha256, pin, parts: null, bytes: pin?.bytes ?? wheel.size ?? null };
  if (wheel.path !== undefined) return { ...whole, bytes: 0 };
  if (sha256 === null)
    throw new SetupError(
      `the index gives no SHA-256 for ${filename}, so that it can't be checked: it is not used`,
    );
  if (pin === undefined) return whole;
  try {
    const read = (start, end) => fetchRange(wheel.url, start, end, http);
    const members = await directoryOf(filename, pin.bytes, read);
    const chosen = members.filter(({ name }) => kept(name));
    const parts = segments([...chosen, recordIn(members, filename)].sort((a, b) => a.start - b.start));
    const bytes = parts.reduce((sum, { start, end }) => sum + end - start, 0);
    return { ...whole, parts, members, bytes, unpacked: chosen.reduce((sum, { size }) => sum + size, 0) };
  } catch (error) {
    if (error instanceof NoRanges || error.status === 416) return whole;
    throw error;
  }
}

/** Downloads what a plan says. @returns {Promise<{ members, parts }>} parts: { start, end, members, file, offset } */
async function downloadWheel(plan, folder, kept, onBytes, http) {
  const { wheel, sha256, pin } = plan;
  if (plan.parts !== null) {
    const parts = [];
    for (const part of plan.parts) {
      const file = path.join(folder, `${pin.sha256.slice(0, 16)}-${part.start}-${part.end}`);
      await download(wheel.url, { ...part, file, onBytes }, http);
      parts.push({ ...part, file, offset: -part.start });
    }
    return { parts, members: plan.members };
  }
  const file = wheel.path ?? path.join(folder, sha256.slice(0, 16));
  if (wheel.path === undefined) await download(wheel.url, { start: 0, end: plan.bytes, file, onBytes }, http);
  if (sha256 !== null && (await sha256Of(file)) !== sha256) {
    if (wheel.path === undefined) rmSync(file);
    throw new SetupError(
      `${wheel.path ?? shown(wheel.url)} is damaged: its SHA-256 is not ${sha256}. Try again.`,
    );
  }
  const { size } = statSync(file);
  const members = await directoryOf(wheel.filename, size, (start, end) => readFrom(file, start, end));
  const chosen = members.filter(({ name }) => kept(name));
  return { parts: [{ start: 0, end: size, members: chosen, file, offset: 0 }], members };
}

async function unpackWheel(plan, { parts, members }, kept, folder) {
  const { filename } = plan.wheel;
  const record = recordIn(members, filename);
  const holder = parts.find(({ start, end }) => start <= record.start && record.end <= end);
  const { text, sha256 } = await readMember(holder.file, holder.offset, record);
  if (plan.parts !== null && sha256 !== plan.pin.record) {
    for (const { file } of parts) rmSync(file, { force: true });
    throw new SetupError(
      `${filename} is damaged or is not the one published: the SHA-256 of its RECORD does not match`,
    );
  }
  const known = readRecord(text);
  for (const { file, offset, members: inPart } of parts) {
    try {
      for (const member of inPart)
        if (kept(member.name)) await unpackMember(file, offset, member, folder, known);
    } catch (error) {
      // the next attempt downloads it again
      if (error instanceof SetupError && plan.wheel.path === undefined) rmSync(file, { force: true });
      throw error;
    }
  }
}

/** An `onProgress` that says every tenth part in a line. */
export function progressLines(say) {
  let said = 0;
  return ({ done, total }) => {
    const tenths = Math.floor((10 * done) / total);
    if (total === 0 || tenths <= said) return;
    said = tenths;
    say(`libtorch: ${megabytes(done)} of ${megabytes(total)}`);
  };
}

function wheelsFor(machine, torch) {
  const isForCuda = machine.startsWith('linux-') && !/\+cpu-/.test(torch.filename);
  return isForCuda ? CUDA_LIBRARIES : [];
}

async function choose(project, version, machine, settings, known, env) {
  const files = await listProject(project, settings, env);
  const wheel = chooseWheel(files, { version, machine, known });
  if (wheel !== null) return wheel;
  const places =
    [...settings.indexes.map(shown), ...settings.folders].join(', ') || 'any index (PIP_NO_INDEX is set)';
  throw new SetupError(
    `${project} ${version} for ${machine} was not found in ${places}.` +
      (/^(linux-(x64|arm64)|darwin-arm64|win32-x64)$/.test(machine)
        ? ' Does PIP_INDEX_URL name an index that has PyTorch?'
        : ` PyTorch publishes no library for ${machine}.`),
  );
}

function checkSpace(folder, needed) {
  const free = statfsSync(folder);
  const bytes = free.bavail * free.bsize;
  if (bytes >= needed) return;
  throw new SetupError(
    `${folder} has ${megabytes(bytes)} of free space; libtorch needs ${megabytes(needed)} while it is unpacked. ` +
      'Free some, or name a folder on another disk: DINO_CACHE=<folder>.',
  );
}

/**
 * Fetches what is missing of libtorch in the cache folder.
 *
 * @param options.headers whether to compile with it: its headers are fetched too
 * @param options.dryRun only says what would be done
 * @param options.log called with lines for the user; `onProgress` with bytes done and expected
 * @param options.known in place of scripts/torch-wheels.json
 * @returns {Promise<{ folder: string, bytes: number }>} bytes downloaded
 * @throws SetupError for what the user can mend: no network, no space, no permission, no library for this machine, damaged files.
 */
export async function fetchLibtorch({
  headers = false,
  dryRun = false,
  env = process.env,
  log = console.log,
  onProgress = () => {},
  known = KNOWN_WHEELS,
  machine = machineName(),
  tries,
} = {}) {
  const folder = cachedCopyDirectory(env, machine);
  const advice =
    'Name a folder that it can use: DINO_CACHE=<folder>, or set LIBTORCH to a libtorch that is there.';
  const missing = () => ({
    library: inspectLibtorch(folder, 'cache').libtorch === null,
    headers: headers && !existsSync(path.join(folder, 'torch', 'include', 'ATen', 'ATen.h')),
  });
  let what = missing();
  if (!what.library && !what.headers) return { folder, bytes: 0 };

  const settings = indexSettings(env);
  const http = { ...settings, env, ...(tries === undefined ? {} : { tries }) };
  const torch = await choose('torch', TORCH_VERSION, machine, settings, known, env);
  const wheels = [torch];
  if (what.library)
    for (const [project, version] of wheelsFor(machine, torch))
      wheels.push(await choose(project, version, machine, settings, known, env));
  const kept = (name) => isKept(name, what);
  const plans = [];
  for (const wheel of wheels) plans.push(await planWheel(wheel, kept, known, http));

  const total = plans.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0);
  const unpacked = plans.reduce((sum, plan) => sum + (plan.unpacked ?? 0), 0) || 500e6;
  const from = [...new Set(plans.map(({ wheel }) => wheel.path ?? new URL(wheel.url).host))].join(', ');
  log(
    `libtorch ${TORCH_VERSION} for ${machine}${what.headers ? ', with headers to compile with' : ''}: ` +
      `${megabytes(total)} to download from ${from}, ${megabytes(unpacked)} in ${folder}`,
  );
  if (dryRun) return { folder, bytes: 0 };

  const partial = `${folder}.partial`;
  const downloads = path.join(partial, 'downloads');
  const tree = path.join(partial, 'tree');
  let release = () => {};
  let bytes = 0;
  try {
    mkdirSync(downloads, { recursive: true });
    release = await lock(`${folder}.lock`, log);
    const now = missing(); // another process may have fetched it meanwhile
    if (now.library !== what.library || now.headers !== what.headers) {
      what = now;
      if (!what.library && !what.headers) return { folder, bytes: 0 };
    }
    checkSpace(partial, total + unpacked + 20e6);
    rmSync(tree, { recursive: true, force: true });
    for (const plan of plans) {
      const count = (more) => onProgress({ done: (bytes += more), total });
      const got = await downloadWheel(plan, downloads, kept, count, http);
      await unpackWheel(plan, got, kept, tree);
    }
    putInPlace(tree, folder, what);
    rmSync(partial, { recursive: true, force: true });
  } catch (error) {
    throw explainWriting(error, partial, advice);
  } finally {
    release();
  }
  const { problem } = inspectLibtorch(folder, 'cache', { headers });
  if (problem !== null) throw new SetupError(`libtorch was unpacked to ${folder}, but it ${problem}`);
  return { folder, bytes };
}

/** What is whole moves to where it is looked for. */
function putInPlace(tree, folder, what) {
  const library = path.join('torch', 'lib', libraryName('torch_cpu'));
  if (what.library) {
    if (!existsSync(path.join(tree, library))) throw new SetupError(`PyTorch's wheel has no ${library}`);
    rmSync(folder, { recursive: true, force: true });
    return renameSync(tree, folder);
  }
  rmSync(path.join(folder, 'torch', 'include'), { recursive: true, force: true });
  renameSync(path.join(tree, 'torch', 'include'), path.join(folder, 'torch', 'include'));
}
