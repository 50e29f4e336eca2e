/**
 * Other libraries' names for the tensors of a vision transformer, turned into the reference's: Hugging Face's ViTModel
 * (modeling_vit.py; its files keep the names of 2021 whatever the version), whose queries, keys and values are three
 * tensors where the reference has one, and timm's, which are the reference's own.
 */
import { CheckpointError } from '../errors.js';
import { backboneName, type Shapes } from './architecture.js';

/** Where the backbone's tensors are in a file. */
export interface BackboneSources {
  layout: 'dino' | 'transformers';
  /** For each of the reference's names the file's tensors, to be joined along the first dimension. */
  sources: Map<string, string[]>;
  /** Shapes by the reference's names. */
  shapes: Map<string, readonly number[]>;
  /** The DINO head's tensors: the reference's name (`mlp.0.weight`, `last_layer.weight_g`) and the file's. */
  head: Map<string, string>;
  /** Tensors that are of no use here, such as a classifier's. */
  unused: string[];
}

/** Hugging Face's name of the tensor that tells its layout. */
const TRANSFORMERS_MARK = 'embeddings.patch_embeddings.projection.weight';

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
  // names in memory since transformers 5
  [/^layers\.(\d+)\.attention\.([qkv])_proj\.(weight|bias)$/, 'blocks.$1.attn.$2.$3'],
  [/^layers\.(\d+)\.attention\.o_proj\.(weight|bias)$/, 'blocks.$1.attn.proj.$2'],
  [/^layers\.(\d+)\.mlp\.(fc[12])\.(weight|bias)$/, 'blocks.$1.mlp.$2.$3'],
  [/^layernorm\.(weight|bias)$/, 'norm.$1'],
];

/** Heads of other trainings on the same backbone: classifiers, transformers' pooler, the reference's linear probe. */
const OTHER_HEADS = /^(head|head_dist|classifier|pooler|linear|fc)\./;

/** `module.head.mlp.0.weight` -> `mlp.0.weight`; null for what is no part of the DINO head. */
function headName(name: string): string | null {
  return /^(?:module\.)*head\.((?:mlp|last_layer)\..+)$/.exec(name)?.[1] ?? null;
}

/**
 * @param shapes - Of all the file's tensors, by its own names.
 * @throws CheckpointError when two of them are the same tensor of the reference's, or only a part of a query, key and
 *   value is there.
 */
export function backboneSources(shapes: Shapes, where: string): BackboneSources {
  const prefix = [...shapes.keys()].find((name) => name.endsWith(TRANSFORMERS_MARK));
  return prefix === undefined
    ? dinoSources(shapes, where)
    : transformersSources(shapes, prefix.slice(0, -TRANSFORMERS_MARK.length), where);
}

function empty(layout: BackboneSources['layout']): BackboneSources {
  return { layout, sources: new Map(), shapes: new Map(), head: new Map(), unused: [] };
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

function dinoSources(shapes: Shapes, where: string): BackboneSources {
  const found = empty('dino');
  for (const [name, shape] of shapes) {
    const inHead = headName(name);
    if (inHead !== null) {
      found.head.set(inHead, name);
      continue;
    }
    const inBackbone = backboneName(name);
    if (inBackbone === null || OTHER_HEADS.test(inBackbone)) found.unused.push(name);
    else add(found, inBackbone, name, shape, where);
  }
  return found;
}

function transformersSources(shapes: Shapes, prefix: string, where: string): BackboneSources {
  const found = empty('transformers');
  for (const [name, shape] of shapes) {
    const plain = name.startsWith(prefix) ? name.slice(prefix.length) : name;
    const rule = TRANSFORMERS_NAMES.find(([pattern]) => pattern.test(plain));
    if (rule !== undefined) add(found, plain.replace(...rule), name, shape, where);
    else if (OTHER_HEADS.test(plain)) found.unused.push(name);
    else add(found, plain, name, shape, where); // reported as unexpected when the model is filled
  }
  const problems: string[] = [];
  for (const name of [...found.sources.keys()]) {
    const part = /^(blocks\.\d+\.attn\.)([qkv])(\.(?:weight|bias))$/.exec(name);
    if (part === null) continue;
    const [, before, , after] = part;
    const fused = `${before}qkv${after}`;
    if (!found.sources.has(fused)) {
      // queries first, then keys, then values: the order of the reference's reshape
      const parts = ['q', 'k', 'v'].map((letter) => `${before}${letter}${after}`);
      const missing = parts.filter((each) => !found.sources.has(each));
      const partShapes = parts.map((each) => found.shapes.get(each) ?? []);
      const [first = []] = partShapes;
      if (missing.length > 0) problems.push(...missing.map((each) => `missing: ${each}`));
      else if (new Set(partShapes.map(String)).size > 1)
        problems.push(`queries, keys and values of ${fused} differ in shape`);
      found.sources.set(
        fused,
        parts.flatMap((each) => found.sources.get(each) ?? []),
      );
      found.shapes.set(fused, [3 * (first[0] ?? 0), ...first.slice(1)]);
    }
  }
  for (const name of [...found.sources.keys()]) {
    if (!/\.attn\.[qkv]\.(weight|bias)$/.test(name)) continue;
    found.sources.delete(name);
    found.shapes.delete(name);
  }
  if (problems.length > 0)
    throw new CheckpointError(
      `${where}: the weights don't fit a vision transformer:\n  ${problems.join('\n  ')}`,
    );
  return found;
}
