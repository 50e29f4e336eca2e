/**
 * Translates other libraries' names for the tensors of a vision transformer into the reference's: Hugging Face's ViTModel
 * (modeling_vit.py; its files keep the names of 2021 in every version), whose queries, keys and values are three tensors
 * where the reference has one, and timm's, which are the reference's own. Of DINOv2, Hugging Face's Dinov2Model and
 * Dinov2WithRegistersModel; the rest is in dinov2-names.ts.
 */
import { CheckpointError } from '../errors.js';
import { FAMILIES, type Family, type Shapes } from '../models/index.js';
import type { Tensor } from '../torch/index.js';
import { complete, ofTimm, SCALE_MARK, withoutChunk } from './dinov2-names.js';
import { completeDinoV3, dinoV3Renaming } from './dinov3-names.js';
import { type FoundNetwork, withoutWrappers } from './networks.js';

/** Where the backbone's tensors are in a file. */
export interface BackboneSources {
  layout: 'dino' | 'transformers' | 'timm';
  /** For each of the reference's names the file's tensors, concatenated along the first dimension unless `makes` has it. */
  sources: Map<string, string[]>;
  /** By the reference's names, what makes the tensor from those of the file, none for one that the file lacks. */
  makes: Map<string, (tensors: Tensor[]) => Tensor>;
  /** Shapes by the reference's names. */
  shapes: Map<string, readonly number[]>;
  /** The DINO head's tensors: the reference's name (`mlp.0.weight`, `last_layer.weight_g`) and the file's. */
  head: Map<string, string>;
  /** Tensors that are not used, such as a classifier's, by the file's names. */
  unused: string[];
  /** Unused tensors in the backbone's own dict that may affect its features. */
  strange: string[];
}

/** Hugging Face's name of the tensor by which its layout is recognized. */
export const TRANSFORMERS_MARK = 'embeddings.patch_embeddings.projection.weight';

const TRANSFORMERS_NAMES: readonly (readonly [RegExp, string])[] = [
  [/^embeddings\.cls_token$/, 'cls_token'],
  [/^embeddings\.position_embeddings$/, 'pos_embed'],
  [/^embeddings\.patch_embeddings\.projection\.(weight|bias)$/, 'patch_embed.proj.$1'],
  [/^(?:encoder\.layer|layers)\.(\d+)\.layernorm_before\.(weight|bias)$/, 'blocks.$1.norm1.$2'],
  [/^(?:encoder\.layer|layers)\.(\d+)\.layernorm_after\.(weight|bias)$/, 'blocks.$1.norm2.$2'],
  [/^encoder\.layer\.(\d+)\.attention\.attention\.query\.(weight|bias)$/, 'blocks.$1.attn.q.$2'],
  [/^encoder\.layer\.(\d+)\.attention\.attention\.key\.(weight|bias)$/, 'blocks.$1.attn.k.$2'],
  [/^encoder\.layer\.(\d+)\.attention\.attention\.value\.(weight|bias)$/, 'blocks.$1.attn.v.$2'],
  [/^encoder\.layer\.(\d+)\.attention\.output\.dense\.(weight|bias)$/, 'blocks.$1.attn.proj.$2'],
  [/^encoder\.layer\.(\d+)\.intermediate\.dense\.(weight|bias)$/, 'blocks.$1.mlp.fc1.$2'],
  [/^encoder\.layer\.(\d+)\.output\.dense\.(weight|bias)$/, 'blocks.$1.mlp.fc2.$2'],
  // in-memory names since transformers 5
  [/^layers\.(\d+)\.attention\.([qkv])_proj\.(weight|bias)$/, 'blocks.$1.attn.$2.$3'],
  [/^layers\.(\d+)\.attention\.o_proj\.(weight|bias)$/, 'blocks.$1.attn.proj.$2'],
  [/^layers\.(\d+)\.mlp\.(fc[12])\.(weight|bias)$/, 'blocks.$1.mlp.$2.$3'],
  [/^layernorm\.(weight|bias)$/, 'norm.$1'],
  // DINOv2's
  [/^embeddings\.(mask_token|register_tokens)$/, '$1'],
  [/^encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1$/, 'blocks.$1.ls$2.gamma'],
  [/^encoder\.layer\.(\d+)\.(norm[12]|mlp\.fc[12])\.(weight|bias)$/, 'blocks.$1.$2.$3'],
  [/^encoder\.layer\.(\d+)\.mlp\.weights_in\.(weight|bias)$/, 'blocks.$1.mlp.w12.$2'],
  [/^encoder\.layer\.(\d+)\.mlp\.(?:weights_out|down_proj)\.(weight|bias)$/, 'blocks.$1.mlp.w3.$2'],
  [/^encoder\.layer\.(\d+)\.mlp\.gate_proj\.(weight|bias)$/, 'blocks.$1.mlp.gate.$2'],
  [/^encoder\.layer\.(\d+)\.mlp\.up_proj\.(weight|bias)$/, 'blocks.$1.mlp.value.$2'],
  [/^encoder\.layer\.(\d+)\.attention\.([qkv])_proj\.(weight|bias)$/, 'blocks.$1.attn.$2.$3'],
  [/^encoder\.layer\.(\d+)\.attention\.o_proj\.(weight|bias)$/, 'blocks.$1.attn.proj.$2'],
];

/** Parts that other libraries store apart, in the order in which the reference has them as one. */
const JOINED: readonly (readonly [part: RegExp, parts: readonly string[], whole: string])[] = [
  // queries first, then keys, then values: the order of the reference's reshape
  [/^(blocks\.\d+\.attn\.)([qkv])(\.(?:weight|bias))$/, ['q', 'k', 'v'], 'qkv'],
  [/^(blocks\.\d+\.mlp\.)(gate|value)(\.(?:weight|bias))$/, ['gate', 'value'], 'w12'],
];

/**
 * The children of torchvision's ResNet by their numbers: what nn.Sequential(*list(resnet.children())[:-1]) makes of its
 * names.
 */
const RESNET_CHILDREN = new Map([
  ['0', 'conv1'],
  ['1', 'bn1'],
  ['4', 'layer1'],
  ['5', 'layer2'],
  ['6', 'layer3'],
  ['7', 'layer4'],
]);

/** `4.0.conv1.weight` -> `layer1.0.conv1.weight` */
const namedChild = (name: string): string =>
  name.replace(/^\d+(?=\.)/, (number) => RESNET_CHILDREN.get(number) ?? number);

/** A part of a network of this family: a tensor in one of them that the model doesn't have would change its features. */
const isPart = (name: string, { parts }: (typeof FAMILIES)[Family]): boolean =>
  parts.some((part) => name === part || name.startsWith(`${part}.`));
const TRANSFORMERS_OWN = /^(?:embeddings|encoder|layers?|layernorm)(?:\.|$)/;
/** What other models add to the same tensors, and what would change the features too. */
const CHANGES =
  /^(?:reg(?:ister)?_tokens?|storage_tokens|dist_token|prompt\w*|norm_pre|pre_norm|ln_pre|fc_norm|rope\w*|rel_pos\w*|relative_position_\w*bias\w*|abs_pos\w*|pos_embed_\w+|attn_pool|ls\d|gamma\w*)(?:\.|$)/;
/** Heads and helpers of other trainings on the same backbone, which don't change its features. */
const HELPERS =
  /(?:^|_)(?:heads?|fc\d?|classifier|cls_head|pooler|linear|lin|mlp|projectors?|projection|proj|predictors?|prototypes?|decoder|queue|center|loss|criterion|metrics?|temperature|logit_scale|n_averaged|mask|masked|mask_token|pre_logits|num_batches_tracked|step|epoch)(?:_\w|$)/;
/** By its first part: `projection_head.0.weight`. */
function isHelper(name: string): boolean {
  const [first = ''] = name.split('.', 1);
  return /^\w+$/.test(first) && HELPERS.test(first);
}

const nothing = (): Omit<BackboneSources, 'layout'> => ({
  ...{ sources: new Map(), makes: new Map(), shapes: new Map(), head: new Map(), unused: [], strange: [] },
});

/** `module.backbone.` -> `module.head.`: possible prefixes of a DINO head beside a network, or inside of it. */
function headPrefixes(prefix: string): string[] {
  const end = prefix.slice(0, -1).lastIndexOf('.') + 1;
  const last = prefix.slice(end);
  const beside =
    prefix.slice(0, end) + (last.includes('backbone') ? last.replace('backbone', 'head') : 'head.');
  const inner = `${prefix}head.`;
  // a wrapper of only the backbone does not apply to the head: backbone._orig_mod. and head.
  const outer = prefix.replace(/(?:\.(?:module|_\w*mod(?:ule)?))+\.$/, '.');
  return [
    ...new Set([inner, ...(prefix === '' ? [] : [beside]), ...(outer === prefix ? [] : headPrefixes(outer))]),
  ];
}

/** Names of DINOHead; PyTorch's newer weight norm has other names for the two parts of the last layer's weight. */
function headName(name: string): string | null {
  const plain = name
    .replace('last_layer.parametrizations.weight.original0', 'last_layer.weight_g')
    .replace('last_layer.parametrizations.weight.original1', 'last_layer.weight_v');
  return /^(?:mlp\.(?:\d+\.\w+|weight|bias)|last_layer\.\w+)$/.test(plain) ? plain : null;
}

/**
 * @param shapes - Of all the file's tensors, by its own names.
 * @param network - The chosen one.
 * @param others - Whose tensors are not this one's, though its prefix may be the beginning of theirs.
 * @param options - `dict` gives the dict of a tensor by its name: tensors outside the backbone's dict are not part of it;
 *   `numHeads` the attention heads, where they are known.
 * @throws CheckpointError when two tensors have the same name in the reference, or a query, key and value are incomplete.
 */
export function backboneSources(
  shapes: Shapes,
  network: Pick<FoundNetwork, 'prefix'>,
  others: readonly Pick<FoundNetwork, 'prefix'>[],
  where: string,
  { dict = () => '', numHeads = null }: { dict?: (name: string) => string; numHeads?: number | null } = {},
): BackboneSources {
  const { prefix } = network;
  const isElsewhere = (name: string): boolean =>
    others.some((other) => other.prefix.length > prefix.length && name.startsWith(other.prefix));
  const own = new Map<string, string>(); // the file's name -> without prefix and wrappers
  for (const name of shapes.keys())
    if (name.startsWith(prefix) && !isElsewhere(name))
      own.set(name, withoutChunk(withoutWrappers(name.slice(prefix.length))));
  const names = new Set(own.values());
  if (names.has('4.0.conv1.weight') && names.has('0.weight') && !names.has('layer1.0.conv1.weight'))
    for (const [name, plain] of own) own.set(name, namedChild(plain));
  const isScaled = names.has(SCALE_MARK);
  if (isScaled) {
    const shapeOf = new Map([...own].map(([name, plain]) => [plain, shapes.get(name) ?? []]));
    for (const [name, plain] of own) own.set(name, ofTimm(plain, shapeOf));
  }
  const isTransformers = [...own.values()].includes(TRANSFORMERS_MARK);
  const renaming = dinoV3Renaming(new Set(own.values()));
  const found: BackboneSources = {
    layout: renaming?.layout ?? (isTransformers ? 'transformers' : 'dino'),
    ...nothing(),
  };
  const plainShapes: Shapes = new Map([...own].map(([name, plain]) => [plain, shapes.get(name) ?? []]));
  const family = Object.values(FAMILIES).find(({ matches }) => matches(plainShapes)) ?? FAMILIES.vit;
  const heads = headPrefixes(prefix);
  const isOwn = (plain: string): boolean =>
    renaming === null
      ? isPart(plain, family) || (isTransformers && TRANSFORMERS_OWN.test(plain))
      : renaming.isPart(plain);
  const home = new Set([...own].filter(([, plain]) => isOwn(plain)).map(([name]) => dict(name)));
  for (const [name, shape] of shapes) {
    const head = isTransformers ? undefined : heads.find((each) => name.startsWith(each));
    const inHead = head === undefined ? null : headName(withoutWrappers(name.slice(head.length)));
    if (inHead !== null) {
      found.head.set(inHead, name);
      continue;
    }
    const plain = own.get(name);
    if (plain === undefined) {
      if (!others.some((other) => other.prefix !== '' && name.startsWith(other.prefix)))
        found.unused.push(name);
      continue;
    }
    if (Object.hasOwn(family.aliases ?? {}, plain)) continue; // the same tensor has another name
    const renamed = renaming?.rename(plain) ?? null;
    const rule = isTransformers ? TRANSFORMERS_NAMES.find(([pattern]) => pattern.test(plain)) : undefined;
    // unknown tensors of the backbone are reported as unexpected when they are loaded
    if (renamed !== null) add(found, renamed, name, shape, where);
    else if (rule !== undefined) add(found, plain.replace(...rule), name, shape, where);
    else if (home.has(dict(name)) && (isOwn(plain) || CHANGES.test(plain)))
      add(found, plain, name, shape, where);
    else {
      found.unused.push(name);
      if (!isHelper(plain) && home.has(dict(name))) found.strange.push(name);
    }
  }
  if (renaming !== null) completeDinoV3(found, numHeads);
  if (isTransformers || renaming !== null) joinParts(found, where);
  complete(found);
  return found;
}

/** For a custom backbone, whose names are unknown: everything that is not a head's. */
export function customSources(shapes: Shapes): BackboneSources {
  const found: BackboneSources = { layout: 'dino', ...nothing() };
  for (const [name, shape] of shapes) {
    const plain = withoutWrappers(name);
    if (plain.startsWith('head.')) {
      const inHead = headName(plain.slice('head.'.length));
      if (inHead === null) found.unused.push(name);
      else found.head.set(inHead, name);
    } else {
      const inBackbone = plain.replace(/^backbone\./, '');
      found.sources.set(inBackbone, [name]);
      found.shapes.set(inBackbone, shape);
    }
  }
  return found;
}

function add(
  found: BackboneSources,
  name: string,
  from: string,
  shape: readonly number[],
  where: string,
): void {
  const before = found.sources.get(name);
  if (before !== undefined)
    throw new CheckpointError(
      `${where} holds ${name} more than once: as ${before.join(', ')} and as ${from}`,
    );
  found.sources.set(name, [from]);
  found.shapes.set(name, shape);
}

/** Joins the tensors that the reference stores as one. */
function joinParts(found: BackboneSources, where: string): void {
  const problems: string[] = [];
  for (const [pattern, letters, whole] of JOINED)
    for (const name of [...found.sources.keys()]) {
      const part = pattern.exec(name);
      if (part === null) continue;
      const [, before = '', , after = ''] = part;
      const fused = `${before}${whole}${after}`;
      if (found.sources.has(fused)) continue;
      const parts = letters.map((letter) => `${before}${letter}${after}`);
      const missing = parts.filter((each) => !found.sources.has(each));
      const partShapes = parts.map((each) => found.shapes.get(each) ?? []);
      const [first = []] = partShapes;
      if (missing.length > 0) problems.push(...missing.map((each) => `missing: ${each}`));
      else if (new Set(partShapes.map(String)).size > 1)
        problems.push(`the parts of ${fused} (${letters.join(', ')}) differ in shape`);
      found.sources.set(
        fused,
        parts.flatMap((each) => found.sources.get(each) ?? []),
      );
      found.shapes.set(fused, [letters.length * (first[0] ?? 0), ...first.slice(1)]);
    }
  for (const name of [...found.sources.keys()]) {
    if (!JOINED.some(([pattern]) => pattern.test(name))) continue;
    found.sources.delete(name);
    found.shapes.delete(name);
  }
  if (problems.length > 0)
    throw new CheckpointError(
      `${where}: the weights don't fit a vision transformer:\n  ${problems.join('\n  ')}`,
    );
}
