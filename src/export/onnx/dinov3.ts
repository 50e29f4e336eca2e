/**
 * DINOv3's networks as ONNX graphs, for images of one size or of any. Layer scales and the mask of the keys' bias are
 * multiplied into the weights beside them; otherwise node for node what src/models/dinov3.ts and convnext.ts do in evaluation.
 */
import type { ConvNeXt, DinoV3Transformer } from '../../models/index.js';
import { DINOV3_LAYER_NORM_EPS } from '../../models/dinov3.js';
import { noGrad, scope, type Tensor } from '../../torch/index.js';
import type { Dimension, GraphBuilder } from './graph-builder.js';
import { Layers, valuesOf } from './layers.js';
import type { TransformerGraphOptions } from './vision-transformer.js';

/** The state with each scale (C) multiplied into the linear layer (C, in) before it, and masks into biases. */
function folded(
  state: ReadonlyMap<string, Tensor>,
  scales: readonly (readonly [scale: RegExp, layer: string])[],
): Map<string, Tensor> {
  const result = new Map(state);
  for (const [name, scale] of state) {
    if (name.endsWith('.bias_mask')) {
      const bias = name.replace('_mask', '');
      result.set(bias, (state.get(bias) as Tensor).mul(scale));
    }
    for (const [pattern, layer] of scales.filter(([pattern]) => pattern.test(name))) {
      const before = [layer, layer.replace('fc2', 'w3')]
        .map((each) => name.replace(pattern, each))
        .find((each) => state.has(`${each}.weight`)) as string;
      result.set(`${before}.weight`, (state.get(`${before}.weight`) as Tensor).mul(scale.unsqueeze(1)));
      result.set(`${before}.bias`, (state.get(`${before}.bias`) as Tensor).mul(scale));
    }
  }
  return result;
}

/** Runs `build` with the layers of a network whose scales are folded in. */
const withFolded = (
  graph: GraphBuilder,
  state: ReadonlyMap<string, Tensor>,
  scales: Parameters<typeof folded>[1],
  build: (layers: Layers) => void,
): void =>
  scope(() =>
    noGrad(() => {
      const result = folded(state, scales);
      build(new Layers(graph, { stateDict: () => result }));
    }),
  );

/** Builds the part from `pixels` (B, 3, H, W) to the outputs. */
export function addDinoV3(
  graph: GraphBuilder,
  backbone: DinoV3Transformer,
  pixels: string,
  options: TransformerGraphOptions,
): void {
  const scales = [
    [/\.ls1\.gamma$/, '.attn.proj'],
    [/\.ls2\.gamma$/, '.mlp.fc2'],
  ] as const;
  withFolded(graph, backbone.stateDict(), scales, (layers) => {
    const { embedDim: width, numHeads: heads, patchSize, depth, prefixTokens } = backbone;
    const { size, outputs } = options;
    const node: GraphBuilder['node'] = (...given) => graph.node(...given);
    const norm = (x: string, name: string, output?: string): string =>
      layers.layerNorm(x, name, output, DINOV3_LAYER_NORM_EPS);
    const projected = layers.conv(pixels, 'patch_embed.proj', { stride: patchSize }); // (B, D, rows, columns)
    const flat = node('Reshape', [projected, graph.ints(0, width, -1)]); // (B, D, N)
    const patches = node('Transpose', [flat], { perm: [0, 2, 1] }); // (B, N, D)
    const batch = node('Shape', [pixels], { start: 0, end: 1 });
    const first = ['cls_token', 'storage_tokens'].map((name) => {
      const count = layers.shape(name)[1] as number;
      return node('Expand', [
        layers.weight(name),
        node('Concat', [batch, graph.ints(count, width)], { axis: 0 }),
      ]);
    });
    let x = node('Concat', [...first, patches], { axis: 1 }); // (B, T, D), T = 1 + S + N
    const rope = graph.within('rope_embed', () =>
      size === null ? addRope(graph, layers, backbone, pixels) : fixedRope(graph, backbone, size),
    );
    let lastWeights = '';
    for (let i = 0; i < depth; i++) {
      x = graph.within(`blocks.${i}`, () => {
        const name = `blocks.${i}`;
        const head = width / heads;
        const joined = layers.linear(norm(x, `${name}.norm1`), `${name}.attn.qkv`); // (B, T, 3 D)
        const split = node('Reshape', [joined, graph.ints(0, 0, 3, heads, head)]);
        const parts = node('Transpose', [split], { perm: [2, 0, 3, 1, 4] }); // (3, B, heads, T, head)
        const turned = rotated(graph, layers, layers.slice(parts, 0, 0, 2), rope, head); // (2, B, heads, T, head)
        const part = (from: string, n: number): string => node('Gather', [from, graph.int(n)], { axis: 0 });
        const query = node('Mul', [part(turned, 0), graph.float(head ** -0.5)]);
        const key = node('Transpose', [part(turned, 1)], { perm: [0, 1, 3, 2] });
        const isAsked = i === depth - 1 && outputs.attention !== undefined;
        const output = isAsked ? outputs.attention : undefined;
        const weights = node('Softmax', [node('MatMul', [query, key])], { axis: -1 }, output); // (B, heads, T, T)
        lastWeights = weights;
        const mixed = node('Transpose', [node('MatMul', [weights, part(parts, 2)])], { perm: [0, 2, 1, 3] });
        const together = node('Reshape', [mixed, graph.ints(0, 0, width)]); // (B, T, D)
        const attended = node('Add', [x, layers.linear(together, `${name}.attn.proj`)]);
        return node('Add', [
          attended,
          feedForward(graph, layers, norm(attended, `${name}.norm2`), `${name}.mlp`),
        ]);
      });
    }
    const tokens = norm(x, 'norm', outputs.tokens); // (B, T, D)
    const grid = size?.map((side) => Math.floor(side / patchSize)) as [number, number] | undefined;
    const count: Dimension = grid === undefined ? 'patches' : grid[0] * grid[1];
    addTokenOutputs(
      graph,
      layers,
      { tokens, weights: lastWeights, count, prefixTokens, width, heads },
      outputs,
    );
  });
}

/** Queries and keys (2, B, heads, T, head) turned by their tokens' angles. */
function rotated(
  graph: GraphBuilder,
  layers: Layers,
  x: string,
  { cos, sin }: { cos: string; sin: string },
  head: number,
): string {
  const halves = [layers.slice(x, 4, head / 2), layers.slice(x, 4, 0, head / 2)];
  const swapped = graph.node('Concat', halves, { axis: 4 });
  return graph.node('Add', [graph.node('Mul', [x, cos]), graph.node('Mul', [swapped, sin])]);
}

function feedForward(graph: GraphBuilder, layers: Layers, x: string, name: string): string {
  if (!layers.has(`${name}.w1.weight`))
    return layers.linear(layers.gelu(layers.linear(x, `${name}.fc1`)), `${name}.fc2`);
  const gate = layers.linear(x, `${name}.w1`);
  const open = graph.node('Mul', [gate, graph.node('Sigmoid', [gate])]);
  return layers.linear(graph.node('Mul', [open, layers.linear(x, `${name}.w2`)]), `${name}.w3`);
}

/** Cosines and signed sines of the angles at one size, (T, head) each. */
function fixedRope(
  graph: GraphBuilder,
  backbone: DinoV3Transformer,
  [height, width]: readonly [number, number],
): { cos: string; sin: string } {
  const { patchSize, prefixTokens } = backbone;
  const sides = [height, width].map((side) => Math.floor(side / patchSize)) as [number, number];
  const { cos, sin } = backbone.rope_embed.forward(...sides, prefixTokens); // (T, 1, 1, head)
  const [tokens = 0, , , head = 0] = cos.shape;
  return {
    cos: graph.weight('rope_embed.cos', [tokens, head], valuesOf(cos)),
    sin: graph.weight('rope_embed.sin', [tokens, head], valuesOf(sin)),
  };
}

/** The same for the input's size. */
function addRope(
  graph: GraphBuilder,
  layers: Layers,
  { patchSize, prefixTokens }: DinoV3Transformer,
  pixels: string,
): { cos: string; sin: string } {
  const node: GraphBuilder['node'] = (...given) => graph.node(...given);
  const [quarter = 0] = layers.shape('rope_embed.periods');
  const periods = layers.weight('rope_embed.periods');
  const counts = [2, 3].map((axis) => {
    const side = node('Shape', [pixels], { start: axis, end: axis + 1 });
    return node('Div', [side, graph.ints(patchSize)]);
  }) as [string, string];
  /** (count, D / 4) */
  const axis = (count: string): string => {
    const range = node('Range', [graph.int(0), node('Squeeze', [count]), graph.int(1)]);
    const [index, all] = [range, count].map((x) => node('Cast', [x], { to: 1 })) as [string, string];
    const share = node('Div', [node('Add', [index, graph.float(0.5)]), all]);
    const place = node('Sub', [node('Mul', [share, graph.float(2)]), graph.float(1)]);
    const turn = node('Mul', [place, graph.float(2 * Math.PI)]);
    return node('Div', [node('Unsqueeze', [turn, graph.ints(1)]), periods]);
  };
  const full = node('Concat', [...counts, graph.ints(quarter)], { axis: 0 });
  const [down, across] = counts.map((count, i) =>
    node('Expand', [node('Unsqueeze', [axis(count), graph.ints(1 - i)]), full]),
  ) as [string, string];
  const both = node('Concat', [down, across], { axis: 2 }); // (rows, columns, D / 2)
  const angles = node('Reshape', [both, graph.ints(-1, 2 * quarter)]); // (N, D / 2)
  const [cos, sin] = [node('Cos', [angles]), node('Sin', [angles])];
  /** Behind the tokens that have no place. */
  const behind = (name: string, value: number, place: string): string => {
    const still = new Float32Array(prefixTokens * 4 * quarter).fill(value);
    const first = graph.weight(`rope_embed.${name}`, [prefixTokens, 4 * quarter], still);
    return node('Concat', [first, place], { axis: 0 });
  };
  return {
    cos: behind('cos', 1, node('Concat', [cos, cos], { axis: 1 })),
    sin: behind('sin', 0, node('Concat', [node('Neg', [sin]), sin], { axis: 1 })),
  };
}

/** Builds the part from `pixels` (B, 3, H, W) to the outputs; there is no attention. */
export function addConvNeXt(
  graph: GraphBuilder,
  backbone: ConvNeXt,
  pixels: string,
  { size, outputs }: TransformerGraphOptions,
): void {
  withFolded(graph, backbone.stateDict(), [[/\.gamma$/, '.pwconv2']], (layers) => {
    const node: GraphBuilder['node'] = (...given) => graph.node(...given);
    const { embedDim: width, prefixTokens } = backbone;
    const toLast = (x: string): string => node('Transpose', [x], { perm: [0, 2, 3, 1] });
    const toFirst = (x: string): string => node('Transpose', [x], { perm: [0, 3, 1, 2] });
    let x = pixels; // (B, C, H, W)
    for (let stage = 0; stage < 4; stage++) {
      const entry = `downsample_layers.${stage}`;
      x =
        stage === 0
          ? toFirst(layers.layerNorm(toLast(layers.conv(x, `${entry}.0`, { stride: 4 })), `${entry}.1`))
          : layers.conv(toFirst(layers.layerNorm(toLast(x), `${entry}.0`)), `${entry}.1`, { stride: 2 });
      for (let i = 0; layers.has(`stages.${stage}.${i}.dwconv.weight`); i++) {
        const name = `stages.${stage}.${i}`;
        const [channels = 0] = layers.shape(`${name}.dwconv.weight`);
        const wide = layers.conv(x, `${name}.dwconv`, { padding: 3, groups: channels });
        const hidden = layers.gelu(
          layers.linear(layers.layerNorm(toLast(wide), `${name}.norm`), `${name}.pwconv1`),
        );
        x = node('Add', [x, toFirst(layers.linear(hidden, `${name}.pwconv2`))]);
      }
    }
    const flat = node('Reshape', [x, graph.ints(0, width, -1)]); // (B, D, N)
    const pooled = node('ReduceMean', [flat], { axes: [2], keepdims: 1 }); // (B, D, 1)
    const all = node('Transpose', [node('Concat', [pooled, flat], { axis: 2 })], { perm: [0, 2, 1] }); // (B, 1 + N, D)
    const tokens = layers.layerNorm(all, 'norm', outputs.tokens);
    const grid = size?.map((side) => Math.floor(side / backbone.patchSize)) as [number, number] | undefined;
    const count: Dimension = grid === undefined ? 'patches' : grid[0] * grid[1];
    addTokenOutputs(graph, layers, { tokens, weights: '', count, prefixTokens, width, heads: 0 }, outputs);
  });
}

/** What the graph has computed. */
interface Computed {
  /** (B, prefix + N, D) after the last norm. */
  tokens: string;
  /** (B, heads, T, T) of the last block; '' without attention. */
  weights: string;
  /** N */
  count: Dimension;
  prefixTokens: number;
  width: number;
  heads: number;
}

function addTokenOutputs(
  graph: GraphBuilder,
  layers: Layers,
  { tokens, weights, count, prefixTokens, width, heads }: Computed,
  outputs: TransformerGraphOptions['outputs'],
): void {
  const all: Dimension = typeof count === 'string' ? 'tokens' : count + prefixTokens;
  const storage = prefixTokens > 1 ? `, ${prefixTokens - 1} storage tokens` : '';
  if (outputs.tokens !== undefined)
    graph.output(
      outputs.tokens,
      ['batch', all, width],
      `the class token${storage}, then the patches row by row`,
    );
  if (outputs.classToken !== undefined) {
    graph.node('Gather', [tokens, graph.int(0)], { axis: 1 }, outputs.classToken); // (B, D)
    graph.output(outputs.classToken, ['batch', width], 'after the last norm: the feature of an image');
  }
  if (outputs.patchTokens !== undefined) {
    layers.slice(tokens, 1, prefixTokens, undefined, outputs.patchTokens); // (B, N, D)
    graph.output(outputs.patchTokens, ['batch', count, width], 'the patches after the last norm, row by row');
  }
  if (outputs.attention !== undefined)
    graph.output(
      outputs.attention,
      ['batch', heads, all, all],
      "the last block's attention, of each token (third dimension) over all (fourth); rows sum to 1",
    );
  if (outputs.classAttention !== undefined && weights !== '') {
    const row = layers.slice(weights, 2, 0, 1); // (B, heads, 1, T)
    const parts = [layers.slice(row, 3, 0, 1), layers.slice(row, 3, prefixTokens)];
    graph.node('Concat', parts, { axis: 3 }, outputs.classAttention);
    graph.output(
      outputs.classAttention,
      ['batch', heads, 1, typeof count === 'string' ? 'class_and_patches' : count + 1],
      "the class token's attention in the last block over itself and the patches; the storage tokens take the rest to 1",
    );
  }
}
