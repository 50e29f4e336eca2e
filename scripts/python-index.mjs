/**
 * Which index Python's packages come from, by the settings that pip and uv read, and which wheels it has. Both forms of an
 * index are understood: JSON (PEP 691) and the older pages of links (PEP 503), which many mirrors still send.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { fetchText, shown } from './download.mjs';
import { SetupError } from './setup-error.mjs';

const PYPI = 'https://pypi.org/simple/';
const JSON_INDEX = 'application/vnd.pypi.simple.v1+json';

/** pip's settings files, in the order in which later ones override earlier ones. */
function pipFiles(env, platform, home) {
  if (env.PIP_CONFIG_FILE === os.devNull) return [];
  const isWindows = platform === 'win32';
  const name = isWindows ? 'pip.ini' : 'pip.conf';
  const global = isWindows
    ? [path.join(env.PROGRAMDATA ?? 'C:\\ProgramData', 'pip', name)]
    : platform === 'darwin'
      ? ['/Library/Application Support/pip/pip.conf']
      : [
          ...(env.XDG_CONFIG_DIRS ?? '/etc/xdg').split(':').map((folder) => path.join(folder, 'pip', name)),
          '/etc/pip.conf',
        ];
  const user = isWindows
    ? [path.join(home, 'pip', name), path.join(env.APPDATA ?? home, 'pip', name)]
    : [
        path.join(home, '.pip', name),
        ...(platform === 'darwin' ? [path.join(home, 'Library', 'Application Support', 'pip', name)] : []),
        path.join(env.XDG_CONFIG_HOME ?? path.join(home, '.config'), 'pip', name),
      ];
  const site = [env.VIRTUAL_ENV, env.CONDA_PREFIX].filter(Boolean).map((folder) => path.join(folder, name));
  return [...global, ...user, ...site, ...(env.PIP_CONFIG_FILE ? [env.PIP_CONFIG_FILE] : [])];
}

/** The settings of [global] and [install] in an INI file, [install] before [global]; indented lines go on with a value. */
function readIni(text) {
  const sections = { global: {}, install: {} };
  let section;
  let key;
  for (const line of text.split(/\r?\n/)) {
    const header = /^\[(.+)\]\s*$/.exec(line);
    const setting = /^([\w-]+)\s*[=:]\s*(.*)$/.exec(line);
    if (/^\s*([#;]|$)/.test(line)) continue;
    if (header) section = sections[header[1].trim()];
    else if (setting) {
      key = setting[1].replaceAll('_', '-').toLowerCase();
      if (section) section[key] = setting[2].trim();
    } else if (section && key && /^\s/.test(line)) section[key] = `${section[key]}\n${line.trim()}`.trim();
  }
  return { ...sections.global, ...sections.install };
}

function readable(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // pip passes over what it can't read, too
  }
}

const words = (text) => (text ?? '').split(/[\s]+/).filter(Boolean);
const isYes = (text) => /^(1|true|yes|on|y|t)$/i.test(text ?? '');

/**
 * @returns {{ indexes: string[], folders: string[], cert?: string, proxy?: string }}
 *   `indexes` to ask in this order; `folders` of this machine that hold wheels (pip's find-links).
 */
export function indexSettings(env = process.env, platform = process.platform, home = os.homedir()) {
  const file = Object.assign({}, ...pipFiles(env, platform, home).map((name) => readIni(readable(name))));
  const main = env.PIP_INDEX_URL || env.UV_DEFAULT_INDEX || env.UV_INDEX_URL || file['index-url'] || PYPI;
  const more = [
    ...words(env.PIP_EXTRA_INDEX_URL),
    ...words(env.UV_INDEX),
    ...words(env.UV_EXTRA_INDEX_URL),
    ...(env.PIP_EXTRA_INDEX_URL === undefined ? words(file['extra-index-url']) : []),
  ];
  const without = isYes(env.PIP_NO_INDEX ?? file['no-index']);
  const links = words(env.PIP_FIND_LINKS ?? file['find-links']);
  const cert = env.PIP_CERT || file.cert;
  const proxy = env.PIP_PROXY || file.proxy;
  return {
    // uv writes a name before an address: name=https://...
    indexes: without
      ? []
      : [...new Set([main, ...more].map((url) => url.replace(/^[\w.-]+=(?=https?:)/, '')))],
    folders: links.flatMap((link) => {
      const folder = link.startsWith('file:') ? fileURLToPath(link) : link.replace(/^~(?=\/)/, home);
      return existsSync(folder) ? [path.resolve(folder)] : [];
    }),
    ...(cert ? { cert } : {}),
    ...(proxy ? { proxy } : {}),
  };
}

const unescape = (text) =>
  text.replace(/&(amp|lt|gt|quot|#39|#x27|#43|#x2b);/gi, (_, name) => {
    const names = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'", '#x27': "'", '#43': '+', '#x2b': '+' };
    return names[name.toLowerCase()];
  });

const SHA256 = /^[0-9a-f]{64}$/i;

function parsePage({ text, type, url }) {
  if (type.includes('json')) {
    let files;
    try {
      ({ files } = JSON.parse(text));
    } catch {
      files = undefined;
    }
    if (!Array.isArray(files)) throw new SetupError(`${shown(url)} is not an index of Python packages`);
    return files
      .filter((file) => typeof file?.filename === 'string' && typeof file.url === 'string' && !file.yanked)
      .map(({ filename, url: place, hashes, size }) => ({
        filename,
        url: new URL(place, url).href,
        sha256: SHA256.test(hashes?.sha256) ? hashes.sha256.toLowerCase() : null,
        size: size ?? null,
      }));
  }
  return [...text.matchAll(/<a\s([^>]*)>([^<]*)<\/a>/gi)].flatMap(([, attributes, name]) => {
    const href = /href\s*=\s*["']([^"']+)["']/i.exec(attributes);
    if (href === null || /\bdata-yanked\b/i.test(attributes)) return [];
    const place = new URL(unescape(href[1]), url);
    const sha256 = /^#sha256=([0-9a-f]{64})$/i.exec(place.hash)?.[1].toLowerCase() ?? null;
    place.hash = '';
    return [{ filename: unescape(name).trim(), url: place.href, sha256, size: null }];
  });
}

/** A name and password of the index go to its own host only, as pip has it. */
function withAccount(file, index) {
  const url = new URL(file.url);
  const given = new URL(index);
  if (url.origin === given.origin && url.username === '')
    Object.assign(url, { username: given.username, password: given.password });
  return { ...file, url: url.href };
}

/**
 * The files that the indexes and folders have of a project; those of folders have a `path` in place of a `url`.
 * @throws SetupError when no index answers.
 */
export async function listProject(project, settings, env = process.env) {
  const wanted = project.replaceAll('-', '[-_.]');
  const isOfProject = new RegExp(`^${wanted}-\\d`, 'i');
  const files = settings.folders.flatMap((folder) =>
    readdirSync(folder)
      .filter((filename) => isOfProject.test(filename) && filename.endsWith('.whl'))
      .map((filename) => ({ filename, path: path.join(folder, filename), sha256: null, size: null })),
  );
  const problems = [];
  for (const index of settings.indexes) {
    const address = new URL(`${project}/`, index.endsWith('/') ? index : `${index}/`).href;
    try {
      const page = await fetchText(
        address,
        { accept: `${JSON_INDEX}, text/html;q=0.1` },
        { ...settings, env },
      );
      files.push(...parsePage(page).map((file) => withAccount(file, index)));
    } catch (error) {
      if (!(error instanceof SetupError)) throw error;
      problems.push(error.message);
    }
  }
  if (files.length === 0 && problems.length > 0) throw new SetupError(problems.join('\n'));
  return files;
}

/** The tags of platforms that a machine's wheels have. */
const PLATFORM_TAGS = {
  'linux-x64': /(many)?linux.*_x86_64$/,
  'linux-arm64': /(many)?linux.*_aarch64$/,
  'darwin-arm64': /macosx_\d+_\d+_(arm64|universal2)$/,
  'win32-x64': /win_amd64$/,
};

/**
 * The wheel to take for a machine: one whose contents are known (a name of `known`), else that for CPython 3.12, else any;
 * builds for the CPU before others. null without one.
 * @param version as '2.15.0', or with a star as '13.2.*'
 */
export function chooseWheel(files, { version, machine, known = {} }) {
  const tag = PLATFORM_TAGS[machine];
  const matches = version.endsWith('.*')
    ? (found) => found.startsWith(version.slice(0, -1))
    : (found) => found.split('+')[0] === version;
  const parse = ({ filename }) => /^[^-]+-([^-]+)(?:-\d[^-]*)?-([^-]+)-([^-]+)-([^-]+)\.whl$/.exec(filename);
  const numbers = (text) => text.split(/[.+]/).map(Number);
  const newer = (a, b) =>
    numbers(b)
      .map((part, i) => part - (numbers(a)[i] ?? 0))
      .find(Boolean) ?? 0;
  const worth = ({ filename }, [, found, python, abi]) =>
    (Object.hasOwn(known, filename) ? 8 : 0) +
    (found.endsWith('+cpu') ? 4 : 0) +
    (python === 'cp312' || python === 'py3' ? 2 : 0) +
    (abi.endsWith('t') ? 0 : 1);
  const fitting = files
    .map((file) => ({ file, parts: parse(file) }))
    .filter(
      ({ parts }) => parts !== null && matches(parts[1]) && parts[4].split('.').some((one) => tag?.test(one)),
    );
  fitting.sort(
    (a, b) =>
      worth(b.file, b.parts) - worth(a.file, a.parts) ||
      newer(a.parts[1], b.parts[1]) ||
      Number('path' in b.file) - Number('path' in a.file),
  );
  return fitting[0]?.file ?? null;
}
