// Writes src/torch/generated/: the types of Tensor's methods and of the `ops` functions, with a table of which
// operator overloads each stands for, from the schemas in PyTorch's own native_functions.yaml.
//
//   node scripts/generate-ops.mjs [path of native_functions.yaml]
//
// Without a path the file is taken from the PyTorch that set-up found (torchgen/packaged/ATen/native/). Names are
// PyTorch's in camelCase; an in-place operator keeps its trailing underscore. Left out: overloads that write to an `out`
// tensor, named-tensor overloads, and private operators except the multi-tensor ones.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { findLibtorch } from './find-libtorch.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

// Methods that are written by hand in src/torch/tensor.ts: they return plain values, move data or concern autograd.
const handWritten = new Set(
  `to item data grad dtype device shape size stride numel backward requires_grad_ detach detach_ is_leaf retain_grad
  output_nr set_ set_data storage_offset new_empty new_zeros new_ones new_full new_empty_strided record_stream rename
  rename_ names refine_names align_to align_as to_dense to_mkldnn to_padded_tensor view_as copy_sparse_to_sparse_
  sym_size sym_stride sym_numel sym_storage_offset is_cuda is_cpu qscheme resize_ resize_as_ type_as
  contiguous is_contiguous dispose keep data_ptr requires_grad constructor is_pinned`.split(/\s+/),
);
// Functions with a TypeScript form in src/torch/creation.ts.
const createdByHand = new Set(
  'zeros ones full empty arange linspace rand randn tensor from_file eye'.split(' '),
);

// An operator whose schema has one of these types is left out.
const unsupported = /\b(Dimname|Storage|Stream|QScheme|ConstQuantizerPtr|\.\.\.)/;

// Operators with a leading underscore that optimizers and layers need nevertheless.
const kept = /^_(foreach|fused|amp|weight_norm|upsample_bi(?:cubic|linear)2d_aa)(_|$|\()/;

/** `add_(Tensor(a!) self, Tensor other, *, Scalar alpha=1) -> Tensor(a!)` taken apart. */
function parseSchema(func) {
  const match = /^([\w]+)(?:\.(\w+))?\((.*)\) -> (.*)$/.exec(func);
  if (!match) throw new Error(`unreadable schema: ${func}`);
  const [, name, overload = '', argumentList, returns] = match;
  let keywordOnly = false;
  const args = [];
  for (const part of splitTopLevel(argumentList)) {
    if (part === '*') {
      keywordOnly = true;
      continue;
    }
    const arg = /^(\w+(?:\([^)]*\))?(?:\[\d*\])?\??(?:\[\d*\])?\??) (\w+)(?:=(.*))?$/.exec(
      part.replace(/\((\w!?(?:\s*->\s*\*)?)\)/, ''),
    );
    if (!arg) throw new Error(`unreadable argument in ${func}: ${part}`);
    args.push({ type: arg[1], name: arg[2], optional: arg[3] !== undefined, keywordOnly });
  }
  return { name, overload, args, returns: parseReturns(returns), func };
}

/** Splits at commas outside brackets. */
function splitTopLevel(text) {
  const parts = [];
  let depth = 0;
  let current = '';
  for (const character of text) {
    if ('([{'.includes(character)) depth++;
    if (')]}'.includes(character)) depth--;
    if (character === ',' && depth === 0) {
      parts.push(current.trim());
      current = '';
    } else current += character;
  }
  if (current.trim()) parts.push(current.trim());
  return parts;
}

function parseReturns(text) {
  const inner = text.startsWith('(') ? text.slice(1, -1) : text;
  return splitTopLevel(inner).map((part) => part.replace(/\([a-z!| ]*(?:->\s*\*)?\)/, '').split(' ')[0]);
}

function argumentType(type) {
  if (type.endsWith('?')) return `${argumentType(type.slice(0, -1))} | null`;
  const list = /^(.*)\[(\d*)\]$/.exec(type);
  if (list) {
    const element = argumentType(list[1]);
    const array = `readonly ${element.includes('|') ? `(${element})` : element}[]`;
    return list[2] ? `${element} | ${array}` : array; // a single value may stand for a list of fixed length
  }
  const types = {
    Tensor: 'Tensor',
    Scalar: 'Scalar',
    int: 'number',
    SymInt: 'number',
    float: 'number',
    bool: 'boolean',
    str: 'string',
    ScalarType: 'DType',
    Device: 'string',
    Layout: 'number',
    MemoryFormat: 'MemoryFormat',
    Generator: 'Generator',
    DeviceIndex: 'number',
  };
  if (!types[type]) throw new Error(`no TypeScript type for ${type}`);
  return types[type];
}

function returnType(returns) {
  if (returns.length === 0) return 'void';
  const one = (type) => {
    const list = /^(.*)\[\d*\]$/.exec(type);
    if (list) return `${one(list[1])}[]`;
    const types = { Tensor: 'Tensor', Scalar: 'number', int: 'number', SymInt: 'number', float: 'number' };
    return { ...types, bool: 'boolean', str: 'string', ScalarType: 'number' }[type];
  };
  const types = returns.map(one);
  if (types.some((type) => !type || type.startsWith('undefined'))) return undefined;
  return types.length === 1 ? types[0] : `[${types.join(', ')}]`;
}

const camelCase = (name) => name.replace(/(?<=[a-z0-9])_+([a-z0-9])/g, (_, letter) => letter.toUpperCase());
const reserved = new Set([
  'in',
  'function',
  'with',
  'var',
  'default',
  'new',
  'delete',
  'this',
  'arguments',
  'eval',
]);
const argumentName = (name) => {
  const camel = camelCase(name);
  return reserved.has(camel) ? `${camel}_` : camel;
};

/** `(other: Tensor, options?: { alpha?: Scalar }): Tensor`, without the self argument for a method. */
function signature(schema, isMethod) {
  const args = isMethod ? schema.args.filter((arg) => arg.name !== 'self') : schema.args;
  const positional = args.filter((arg) => !arg.keywordOnly);
  const keyword = args.filter((arg) => arg.keywordOnly);
  const parts = positional.map((arg, i) => {
    const optional = arg.optional && positional.slice(i).every((later) => later.optional);
    const type = argumentType(arg.type);
    return optional ? `${argumentName(arg.name)}?: ${type}` : `${argumentName(arg.name)}: ${type}`;
  });
  if (keyword.length > 0) {
    const fields = keyword.map(
      (arg) => `${camelCase(arg.name)}${arg.optional ? '?' : ''}: ${argumentType(arg.type)}`,
    );
    const allOptional = keyword.every((arg) => arg.optional);
    parts.push(`options${allOptional ? '?' : ''}: { ${fields.join('; ')} }`);
  }
  return `(${parts.join(', ')})`;
}

function group(schemas, isMethod) {
  const groups = new Map();
  for (const schema of schemas) {
    const returns = returnType(schema.returns);
    if (returns === undefined) continue;
    let name = camelCase(schema.name);
    if (!groups.has(name)) groups.set(name, { name, aten: schema.name, overloads: [] });
    groups.get(name).overloads.push({ schema, text: signature(schema, isMethod), returns });
  }
  return [...groups.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

function writeInterface(interfaceName, groups, isMethod) {
  const lines = [`export interface ${interfaceName} {`];
  for (const { name, overloads } of groups) {
    for (const { schema, text, returns } of overloads) {
      const inPlace = isMethod && schema.name.endsWith('_') && returns === 'Tensor';
      lines.push(`  /** \`${schema.func}\` */`, `  ${name}${text}: ${inPlace ? 'this' : returns};`);
    }
  }
  lines.push('}');
  return lines.join('\n');
}

function defaultFile() {
  const { libtorch, tried } = findLibtorch();
  if (!libtorch) throw new Error(`no libtorch found: ${JSON.stringify(tried)}; run \`npm run setup\` first`);
  const file = join(libtorch.root, '../torchgen/packaged/ATen/native/native_functions.yaml');
  if (!existsSync(file))
    throw new Error(
      `${file} does not exist: it comes with Python's torch package, or give the file as an argument`,
    );
  return file;
}

const file = process.argv[2] ?? defaultFile();
const functions = parse(readFileSync(file, 'utf8'));
const schemas = functions
  .map((entry) => ({ ...entry, variants: (entry.variants ?? 'function').split(/,\s*/) }))
  .filter(({ func }) => (!func.startsWith('_') || kept.test(func)) && !unsupported.test(func))
  .filter(({ func }) => !/\*, .*Tensor\(\w!\)/.test(func.split(' -> ')[0])) // an `out` form, whatever its name
  .map((entry) => ({ ...parseSchema(entry.func), variants: entry.variants }));

const methods = group(
  schemas.filter((s) => s.variants.includes('method') && !handWritten.has(s.name)),
  true,
);
// an operator that exists only as a method is called on the tensor; the rest are functions
const operators = group(
  schemas.filter((s) => s.variants.includes('function') && !createdByHand.has(s.name)),
  false,
);

const header = `// Generated by scripts/generate-ops.mjs from PyTorch's native_functions.yaml. Do not edit.
`;
const table = (groups) =>
  `[\n${groups.map((g) => `  ['${g.name}', '${g.aten}', '${g.overloads.map((o) => o.schema.overload).join(',')}'],`).join('\n')}\n]`;

const directory = join(root, 'src/torch/generated');
mkdirSync(directory, { recursive: true });
const imports = `import type { DType, MemoryFormat, Scalar } from '../dtype.js';
`;
writeFileSync(
  join(directory, 'methods.ts'),
  // tensor.ts imports this file: Tensor is a type parameter, and Generator is its base class, to avoid a circular import
  `${header}${imports}import type { GeneratorOwner as Generator } from '../handle-owner.js';\n\n/** The operators that PyTorch gives its Tensor as methods. */\n${writeInterface('TensorMethods<Tensor>', methods, true)}\n`,
);
writeFileSync(
  join(directory, 'functions.ts'),
  `${header}${imports}import type { Generator } from '../generator.js';\nimport type { Tensor } from '../tensor.js';\n\n/** The operators that PyTorch gives as functions. */\n${writeInterface('TorchFunctions', operators, false)}\n`,
);
writeFileSync(
  join(directory, 'table.ts'),
  `${header}
/** TypeScript name, operator name, overloads (comma separated; an empty one is the overload without a name). */
export type OperatorRow = readonly [name: string, aten: string, overloads: string];

export const methodTable: readonly OperatorRow[] = ${table(methods)};

export const functionTable: readonly OperatorRow[] = ${table(operators)};
`,
);
console.log(`${methods.length} methods and ${operators.length} functions written to src/torch/generated`);
