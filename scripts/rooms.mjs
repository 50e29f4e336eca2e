/**
 * The rooms of src/ and the rule between them: a room imports only from those above it in this table, what runs in a
 * browser imports nothing of Node's, and there is no circle of imports. The table and the picture in docs/architecture.md are
 * made from it.
 *
 *   node scripts/rooms.mjs            checks the rule, the table and the picture (a test does too)
 *   node scripts/rooms.mjs --write    writes the table and the picture
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import ts from 'typescript';
import { packageRoot } from './find-libtorch.mjs';
import { drawRooms } from './rooms-picture.mjs';

/** Folders and files of src/, each with what it holds. The first imports none of the others. */
export const ROOMS = [
  ['errors', 'an error class for each kind of failure'],
  [
    'plain',
    'what needs neither Node nor libtorch, so that pages in a browser run it too: geometry, colours, checks of arguments, text, the types of the studio’s API',
  ],
  ['version', 'the version of the package'],
  ['native-addons', 'where the compiled addons are: compiled here, or in the platform’s package'],
  ['files', 'files that may be a stranger’s: guarded opening, whole writes, folder locks, what may be read'],
  [
    'torch',
    'the only importer of `native/torch`: `Tensor`, operators generated from their schemas, `scope()`, dtypes, devices, generators',
  ],
  ['nn', '`Module` with PyTorch’s state names, layers'],
  ['optim', 'AdamW, Muon, SGD, LARS, schedules, clipping; L-BFGS for small smooth problems'],
  ['models', 'vision transformer, ResNet, XCiT, DINO head, the table of architectures'],
  ['dino', 'the method of the paper: multi-crop forward, loss and centre, EMA teacher, collapse monitor'],
  ['processes', 'processes that work together: who they are, what they tell each other, how they start'],
  [
    'data',
    'lists of images, shards, decoding, augmentation, loader workers; the only importer of `native/crops`',
  ],
  ['run', 'a run on disk: settings, the run folder and its logs, checkpoint files, the film of attention'],
  ['weights', 'files of weights: formats, names, which network a file holds'],
  ['explain', 'attention maps, patch PCA, video'],
  ['eval', 'k-NN, linear, retrieval, copy detection, segmentation, embedding'],
  ['model', '`Model` and `loadModel()`'],
  ['export', 'ONNX, transformers.js, a page for the browser'],
  ['classify', 'classifiers fitted to few labelled images: fitting, measuring, predicting'],
  ['segment', 'segmentation by a linear layer on patch features: fitting, measuring, predicting'],
  ['train', '`train.ts`, the loop; presets, resume, what is measured on the way'],
  [
    'explore',
    'an index of a folder’s features: search, duplicates, outliers, clusters, selection, the map, proposed labels',
  ],
  ['doctor', 'what this machine lacks, and getting it'],
  ['studio', 'the studio’s server: runs, files, uploads, jobs in a process of their own'],
  ['demo', 'the demo’s images and its report'],
  ['index', 'the public API'],
  ['cli', 'one lazy file a command: parses, calls the public API, prints'],
];

/** Rooms that run in a browser too, and the packages that they may import. */
const IN_BROWSER = { rooms: ['errors', 'plain'], packages: ['zod'] };
const DOCS = path.join(packageRoot, 'docs', 'architecture.md');
const PICTURE = path.join(packageRoot, 'docs', 'images', 'rooms.svg');
const [BEGIN, END] = ['<!-- rooms: made by scripts/rooms.mjs -->\n\n', '\n<!-- end of rooms -->'];

const roomOf = (file) => file.split('/')[1].replace(/\.ts$/, '');
/** Tests, and what only they use, may import anything. */
const isTest = (file) => /\.test\.ts$|^src\/testing\//.test(file);

/** Imports of the files below a folder, tests left out: paths from the root of the package, and names of packages. */
function readImports(folder) {
  const names = readdirSync(path.join(packageRoot, folder), { recursive: true }).map((name) =>
    path.posix.join(folder, name.split(path.sep).join('/')),
  );
  return new Map(
    names
      .filter((file) => /\.tsx?$/.test(file) && !isTest(file))
      .map((file) => {
        const text = readFileSync(path.join(packageRoot, file), 'utf8');
        const imported = ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => fileName);
        const own = imported
          .filter((name) => name.startsWith('.'))
          .map((name) => path.posix.join(path.posix.dirname(file), name).replace(/\.js$/, '.ts'));
        return [file, { own: [...new Set(own)], packages: imported.filter((name) => !name.startsWith('.')) }];
      }),
  );
}

/** What breaks the rule, a line each. */
export function problems() {
  const found = [];
  const graph = readImports('src');
  const order = new Map(ROOMS.map(([name], i) => [name, i]));
  for (const [file, { own, packages }] of graph) {
    const room = roomOf(file);
    if (!order.has(room)) found.push(`${file}: ${room} is not a room of scripts/rooms.mjs`);
    for (const to of own.filter((name) => name.startsWith('src/')))
      if (isTest(to)) found.push(`${file} imports ${to}, which only tests use`);
      else if (order.get(roomOf(to)) > order.get(room))
        found.push(`${file} imports ${to}, a room below its own`);
    if (IN_BROWSER.rooms.includes(room))
      for (const name of packages.filter((one) => !IN_BROWSER.packages.includes(one)))
        found.push(`${file} imports ${name}: ${room} runs in a browser too`);
  }
  for (const [file, { own }] of readImports('web'))
    for (const to of own.filter((name) => name.startsWith('src/')))
      if (!IN_BROWSER.rooms.includes(roomOf(to)))
        found.push(`${file} imports ${to}, which a browser does not run`);
  return [...found, ...circles(graph)];
}

/** Circles of imports, a line each. */
function circles(graph) {
  const found = [];
  const done = new Set();
  const visit = (file, way) => {
    const at = way.indexOf(file);
    if (at >= 0) found.push(`a circle of imports: ${[...way.slice(at), file].join(' -> ')}`);
    if (at >= 0 || done.has(file)) return;
    for (const to of graph.get(file)?.own ?? []) visit(to, [...way, file]);
    done.add(file);
  };
  for (const file of graph.keys()) visit(file, []);
  return found;
}

/** The rooms that a room imports, in their order. */
function importsOf(name, graph) {
  const files = [...graph].filter(([file]) => roomOf(file) === name);
  const rooms = new Set(
    files.flatMap(([, { own }]) => own.filter((to) => to.startsWith('src/')).map(roomOf)),
  );
  return ROOMS.map(([room]) => room).filter((room) => rooms.has(room) && room !== name);
}

/** The picture of the rooms as they are, SVG. */
export function picture() {
  const graph = readImports('src');
  return drawRooms(ROOMS.map(([name, holds]) => ({ name, holds, imports: importsOf(name, graph) })));
}

/** docs/architecture.md with the table of the rooms as they are. */
export async function docsWithTable() {
  const graph = readImports('src');
  const rows = ROOMS.map(([name, holds]) => {
    const imports = importsOf(name, graph).filter((room) => !IN_BROWSER.rooms.includes(room));
    const isFolder = existsSync(path.join(packageRoot, 'src', name));
    return `| \`src/${name}${isFolder ? '/' : '.ts'}\` | ${holds} | ${imports.join(', ') || '–'} |`;
  });
  const table = ['| room | holds | imports, besides errors and plain |', '| --- | --- | --- |', ...rows].join(
    '\n',
  );
  const docs = readFileSync(DOCS, 'utf8');
  const [begin, end] = [docs.indexOf(BEGIN) + BEGIN.length, docs.indexOf(END)];
  const text = `${docs.slice(0, begin)}${table}\n${docs.slice(end)}`;
  return format(text, { ...(await resolveConfig(DOCS)), parser: 'markdown' });
}

/** What is out of date of the table and the picture, a line each. */
export async function outdated() {
  const isOld =
    (await docsWithTable()) !== readFileSync(DOCS, 'utf8') ||
    !existsSync(PICTURE) ||
    picture() !== readFileSync(PICTURE, 'utf8');
  return isOld
    ? ['docs/architecture.md or its picture is out of date: run node scripts/rooms.mjs --write']
    : [];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--write')) {
    writeFileSync(DOCS, await docsWithTable());
    writeFileSync(PICTURE, picture());
  }
  const wrong = [...problems(), ...(await outdated())];
  for (const line of wrong) console.error(line);
  process.exitCode = wrong.length > 0 ? 1 : 0;
}
