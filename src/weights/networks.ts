/**
 * The networks in a file of weights, and which of them is meant. One rule finds them however they were saved: a backbone is
 * recognized by its own tensors' names, and what precedes these names in the file is its prefix, be it a dict (`teacher`), a
 * wrapper (`module._orig_mod.`) or an attribute of some class (`model.teacher_backbone.`). Wrappers in the middle of names
 * (`blocks.0._checkpoint_wrapped_module.attn...`) are ignored.
 */
import { CheckpointError } from '../errors.js';
import { FAMILIES } from '../models/index.js';
import { DINOV3_ANCHORS } from './dinov3-names.js';
import { show } from './pickle-values.js';

export interface FoundNetwork {
  /** The prefix of its names in the file, including the last dot. */
  prefix: string;
  /** The prefix without the last dot and without wrappers; '' for a network without a name. */
  label: string;
  /** Its role by its name; null when the name doesn't say. */
  role: 'teacher' | 'student' | null;
  /** Whether it has the tensors that every backbone of its kind has. */
  isWhole: boolean;
}

export interface ChosenNetwork {
  network: FoundNetwork;
  /** The others that could have been taken. */
  others: readonly FoundNetwork[];
}

/**
 * Parts of names that wrapping a module adds: `module` (DataParallel), `_orig_mod` (torch.compile), `_fsdp_wrapped_module`,
 * `_checkpoint_wrapped_module`, `_forward_module` (Fabric), ...
 */
const isWrapper = (part: string): boolean => part === 'module' || /^_\w*mod(?:ule)?$/.test(part);

/** A name without the parts that wrapping adds. */
export const withoutWrappers = (name: string): string =>
  name
    .split('.')
    .filter((part) => !isWrapper(part))
    .join('.');

/** Tensors by whose names a backbone is found, and others that a complete one must have. */
const ANCHORS: readonly (readonly [anchor: string, others: readonly string[]])[] = [
  ...Object.values(FAMILIES).flatMap(({ anchors }) => anchors),
  ['blocks.0.0.attn.qkv.weight', ['patch_embed.proj.weight']], // in chunks, as DINOv2's training saves its blocks
  ['4.0.conv1.weight', ['0.weight', '7.0.conv1.weight']], // nn.Sequential(*resnet.children()), as lightly's examples have it
  ['embeddings.patch_embeddings.projection.weight', ['embeddings.cls_token']],
  ['embeddings.patch_embeddings.weight', ['embeddings.cls_token']],
  ...DINOV3_ANCHORS,
];

/** What precedes an anchor in a name; null when the name doesn't end with it. */
function prefixOf(parts: readonly string[], anchor: readonly string[]): string | null {
  let at = parts.length - 1;
  for (let i = anchor.length - 1; i >= 0; i--, at--) {
    while (at >= 0 && parts[at] !== anchor[i] && isWrapper(parts[at] as string)) at--;
    if (at < 0 || parts[at] !== anchor[i]) return null;
  }
  return at < 0 ? '' : `${parts.slice(0, at + 1).join('.')}.`;
}

const TEACHER =
  /(?:^|[._])(?:teacher|momentum|ema|target|averaged|average|swa|shadow)(?:[._]|$)|(?:^|[._])encoder_k(?:[._]|$)/i;
const STUDENT = /(?:^|[._])(?:student|online|query|encoder_q|base_encoder)(?:[._]|$)/i;

/** By the last part of the label that says it: an EMA of a student is an EMA. */
const roleOf = (label: string): FoundNetwork['role'] =>
  TEACHER.test(label) ? 'teacher' : STUDENT.test(label) ? 'student' : null;

/** All networks of a file whose architecture is of a known family, in the order of the file. */
export function findNetworks(names: Iterable<string>): FoundNetwork[] {
  const known = new Set<string>();
  const anchored = new Map<string, Set<string>>();
  const anchors = ANCHORS.map(([anchor]) => anchor.split('.'));
  for (const name of names) {
    const parts = name.split('.');
    anchors.forEach((anchor) => {
      if (parts.at(-1) !== anchor.at(-1)) return;
      const prefix = prefixOf(parts, anchor);
      if (prefix === null) return;
      const found = anchored.get(prefix) ?? new Set<string>();
      anchored.set(prefix, found.add(anchor.join('.')));
    });
    known.add(withoutWrappers(name));
  }
  return [...anchored].map(([prefix, found]) => {
    const label = withoutWrappers(prefix.slice(0, -1));
    const own = withoutWrappers(prefix);
    const isWhole = ANCHORS.some(
      ([anchor, others]) => found.has(anchor) && others.every((name) => known.has(own + name)),
    );
    return { prefix, label, role: roleOf(label), isWhole };
  });
}

/**
 * The networks that a key names: it consists of consecutive whole parts of their prefix, as `teacher` and `module.backbone`
 * do for `teacher.module.backbone.`; those whose prefix ends with it take precedence.
 */
function namedBy(key: string, all: readonly FoundNetwork[]): readonly FoundNetwork[] {
  const inner = `.${key.replace(/^\.+|\.+$/g, '')}.`;
  if (inner === '..') return [];
  const forms = ({ prefix }: FoundNetwork): string[] => [`.${prefix}`, `.${withoutWrappers(prefix)}`];
  const named = all.filter((each) => forms(each).some((form) => form.includes(inner)));
  const ending = named.filter((each) => forms(each).some((form) => form.endsWith(inner)));
  return ending.length > 0 ? ending : named;
}

/** A network's name for `--checkpoint-key`. */
export const nameOf = ({ label, prefix }: FoundNetwork): string =>
  show(label === '' ? prefix.slice(0, -1) || '(without a prefix)' : label);

/**
 * The network that a key means: by its name or a part of it; else `teacher` and `student` by the networks' roles. Without a
 * key it is the teacher's, or the only one.
 *
 * @param options.keyFlag - The flag of the key, for messages.
 * @param options.isSame - Whether two networks are the same tensors: then either will do.
 * @throws CheckpointError when there is none, or several without a way to choose.
 */
export function chooseNetwork(
  found: readonly FoundNetwork[],
  key: string | undefined,
  {
    where,
    keyFlag,
    isSame,
  }: { where: string; keyFlag: string; isSame: (a: FoundNetwork, b: FoundNetwork) => boolean },
): ChosenNetwork {
  const whole = found.filter(({ isWhole }) => isWhole);
  const all = whole.length > 0 ? whole : found;
  const listed = all.map(nameOf).join(', ');
  // when all are incomplete, the outermost shows best what is missing
  const [outermost] = [...found].sort((a, b) => a.prefix.length - b.prefix.length);
  if (whole.length === 0 && key === undefined && outermost !== undefined)
    return { network: outermost, others: [] };
  const named = key === undefined ? all : namedBy(key, all);
  const pool = named.length > 0 ? named : byRole(all, key);
  if (pool.length === 0) {
    throw new CheckpointError(
      `${where} has no network '${show(key ?? '')}'; it has ${listed}. Choose one of them by ${keyFlag}`,
    );
  }
  const chosen = better(pool).filter(
    (each, i, list) => !list.slice(0, i).some((other) => isSame(other, each)),
  );
  const [network] = chosen;
  if (network === undefined || chosen.length > 1) {
    const equal = chosen.map(nameOf).join(', ');
    throw new CheckpointError(
      `${where} has ${chosen.length} networks, and it is not clear which one is meant: ${equal}. Choose by ${keyFlag}`,
    );
  }
  return { network, others: all.filter((each) => each !== network) };
}

/** What `teacher` and `student` mean where no name contains the word. */
function byRole(all: readonly FoundNetwork[], key: string | undefined): readonly FoundNetwork[] {
  const has = (role: FoundNetwork['role']): FoundNetwork[] => all.filter((each) => each.role === role);
  const plain = has(null);
  // one without a role is the only one, or the student beside a teacher: backbone and momentum_backbone
  if (key === 'teacher')
    return has('teacher').length > 0 ? has('teacher') : has('student').length > 0 ? [] : plain;
  if (key === 'student') return has('student').length > 0 ? has('student') : plain;
  return [];
}

/** Those that the reference prefers: the teacher's, if there are any. */
function better(pool: readonly FoundNetwork[]): readonly FoundNetwork[] {
  const teachers = pool.filter(({ role }) => role === 'teacher');
  return teachers.length > 0 ? teachers : pool;
}
