/**
 * The vision transformer as an ONNX graph: node for node what src/models/vision-transformer.ts and dinov2.ts do in evaluation, in
 * operators of opset 17, which every current runtime has. Matrices are stored as (in, out), so that a token's row is
 * multiplied from the left.
 */
import { Dinov2, PatchEmbed, type VisionTransformer } from '../../models/index.js';
import { noGrad, ops, scope } from '../../torch/index.js';
import type { Dimension, GraphBuilder } from './graph-builder.js';
import { Layers, valuesOf } from './layers.js';

export interface TransformerGraphOptions {
  /** Pixels, [height, width]; null for any size: position embeddings are then interpolated in the graph. */
  size: readonly [height: number, width: number] | null;
  /** Names of the outputs to make. */
  outputs: {
    /** (B, 1 + R + N, D), R registers. */
    tokens?: string;
    /** (B, D) */
    classToken?: string;
    /** (B, N, D) */
    patchTokens?: string;
    /** (B, heads, 1 + R + N, 1 + R + N) */
    attention?: string;
    /** (B, heads, 1, 1 + N): the class token's row of the last block's attention, without registers. */
    classAttention?: string;
  };
}

/** Builds the part from `pixels` (B, 3, H, W) to the outputs. */
export function addVisionTransformer(
  graph: GraphBuilder,
  backbone: VisionTransformer,
  pixels: string,
  options: TransformerGraphOptions,
): void {
  const { size, outputs } = options;
  const { embedDim: width, numHeads: heads, patchSize, prefixTokens: prefix } = backbone;
  const layers = new Layers(graph, backbone);

  const projected =
    backbone.patch_embed instanceof PatchEmbed
      ? layers.conv(pixels, 'patch_embed.proj', { stride: patchSize })
      : addConvStem(graph, layers, pixels, patchSize); // (B, D, rows, columns)
  const flat = graph.node('Reshape', [projected, graph.ints(0, width, -1)]); // (B, D, N)
  const patches = graph.node('Transpose', [flat], { perm: [0, 2, 1] }); // (B, N, D)
  const positions =
    size === null ? addPositions(graph, backbone, pixels) : fixedPositions(graph, backbone, size);
  const batch = graph.node('Shape', [pixels], { start: 0, end: 1 });
  const firstShape = graph.node('Concat', [batch, graph.ints(prefix, width)], { axis: 0 });
  const first = graph.node('Expand', [firstTokens(graph, backbone), firstShape]); // (B, 1 + R, D)
  const placed = graph.node('Add', [patches, positions]);
  let x = graph.node('Concat', [first, placed], { axis: 1 }); // (B, 1 + R + N, D)
  /** A branch's output by its LayerScale, if it has one. */
  const scaled = (branch: string, name: string): string =>
    layers.has(`${name}.gamma`) ? graph.node('Mul', [branch, layers.weight(`${name}.gamma`)]) : branch;

  const depth = backbone.blocks.length;
  let lastWeights = '';
  for (let i = 0; i < depth; i++) {
    x = graph.within(`blocks.${i}`, () => {
      const name = `blocks.${i}`;
      const head = width / heads;
      const joined = layers.linear(layers.layerNorm(x, `${name}.norm1`), `${name}.attn.qkv`); // (B, 1 + N, 3D)
      const split = graph.node('Reshape', [joined, graph.ints(0, 0, 3, heads, head)]);
      const turned = graph.node('Transpose', [split], { perm: [2, 0, 3, 1, 4] }); // (3, B, heads, 1 + N, head)
      const part = (n: number): string => graph.node('Gather', [turned, graph.int(n)], { axis: 0 });
      const query = graph.node('Mul', [part(0), graph.float(head ** -0.5)]);
      const key = graph.node('Transpose', [part(1)], { perm: [0, 1, 3, 2] });
      const isAsked = i === depth - 1 && outputs.attention !== undefined;
      const weights = graph.node(
        'Softmax',
        [graph.node('MatMul', [query, key])],
        { axis: -1 },
        isAsked ? outputs.attention : undefined,
      ); // (B, heads, 1 + N, 1 + N)
      lastWeights = weights;
      const mixed = graph.node('Transpose', [graph.node('MatMul', [weights, part(2)])], {
        perm: [0, 2, 1, 3],
      });
      const together = graph.node('Reshape', [mixed, graph.ints(0, 0, width)]); // (B, 1 + N, D)
      const mixedIn = scaled(layers.linear(together, `${name}.attn.proj`), `${name}.ls1`);
      const attended = graph.node('Add', [x, mixedIn]);
      const out = addPerceptron(graph, layers, layers.layerNorm(attended, `${name}.norm2`), `${name}.mlp`);
      return graph.node('Add', [attended, scaled(out, `${name}.ls2`)]);
    });
  }

  const count: Dimension =
    size === null ? 'patches' : Math.floor(size[0] / patchSize) * Math.floor(size[1] / patchSize);
  const all: Dimension = size === null ? 'tokens' : (count as number) + prefix;
  const tokens = layers.layerNorm(x, 'norm', outputs.tokens); // (B, 1 + N, D)
  if (outputs.tokens !== undefined) {
    const registers = prefix === 1 ? '' : `${prefix - 1} registers, `;
    graph.output(
      outputs.tokens,
      ['batch', all, width],
      `the class token, ${registers}then the patches row by row`,
    );
  }
  if (outputs.classToken !== undefined) {
    graph.node('Gather', [tokens, graph.int(0)], { axis: 1 }, outputs.classToken); // (B, D)
    graph.output(
      outputs.classToken,
      ['batch', width],
      'the class token after the last norm: the feature of an image',
    );
  }
  if (outputs.patchTokens !== undefined) {
    layers.slice(tokens, 1, prefix, undefined, outputs.patchTokens); // (B, N, D)
    graph.output(outputs.patchTokens, ['batch', count, width], 'the patches after the last norm, row by row');
  }
  if (outputs.attention !== undefined) {
    graph.output(
      outputs.attention,
      ['batch', heads, all, all],
      "the last block's attention, of each token (third dimension) over all (fourth); rows sum to 1",
    );
  }
  if (outputs.classAttention !== undefined) {
    addClassAttention(graph, layers, lastWeights, prefix, outputs.classAttention);
    const shown = size !== null ? (count as number) + 1 : prefix === 1 ? all : 'class_and_patches';
    graph.output(
      outputs.classAttention,
      ['batch', heads, 1, shown],
      `the class token's attention in the last block, itself first; sums to 1${prefix === 1 ? '' : ' with the registers, which are left out'}`,
    );
  }
}

/** Patches by convolutions (src/models/conv-stem.ts), (B, D, rows, columns). */
function addConvStem(graph: GraphBuilder, layers: Layers, pixels: string, patchSize: number): string {
  const patch = graph.ints(patchSize);
  const whole = [2, 3].map((axis) => {
    const side = graph.node('Shape', [pixels], { start: axis, end: axis + 1 });
    return graph.node('Mul', [graph.node('Div', [side, patch]), patch]);
  });
  // what doesn't fill a patch is dropped; the convolutions would round up
  let x = graph.node('Slice', [
    pixels,
    graph.ints(0, 0),
    graph.node('Concat', whole, { axis: 0 }),
    graph.ints(2, 3),
  ]);
  for (let i = 0; layers.has(`patch_embed.proj.${3 * i + 1}.running_var`); i++) {
    const halved = layers.conv(x, `patch_embed.proj.${3 * i}`, { stride: 2, padding: 1 });
    x = graph.node('Relu', [layers.batchNorm(halved, `patch_embed.proj.${3 * i + 1}`)]);
  }
  return layers.conv(x, `patch_embed.proj.${3 * Math.log2(patchSize)}`);
}

/** The second branch of a block, a perceptron or a gated one. */
function addPerceptron(graph: GraphBuilder, layers: Layers, x: string, name: string): string {
  if (!layers.has(`${name}.w12.weight`))
    return layers.linear(layers.gelu(layers.linear(x, `${name}.fc1`)), `${name}.fc2`);
  const [both = 0] = layers.shape(`${name}.w12.weight`); // (2 F, D)
  const joined = layers.linear(x, `${name}.w12`); // (B, tokens, 2 F)
  const gate = layers.slice(joined, 2, 0, both / 2);
  const open = graph.node('Mul', [gate, graph.node('Sigmoid', [gate])]); // SiLU
  return layers.linear(graph.node('Mul', [open, layers.slice(joined, 2, both / 2)]), `${name}.w3`);
}

/** The class token's attention: only its row, since all rows together would be by far the largest output. */
function addClassAttention(
  graph: GraphBuilder,
  layers: Layers,
  weights: string,
  prefix: number,
  output: string,
): void {
  if (prefix === 1) {
    layers.slice(weights, 2, 0, 1, output); // (B, heads, 1, 1 + N)
    return;
  }
  const row = layers.slice(weights, 2, 0, 1); // (B, heads, 1, 1 + R + N)
  graph.node('Concat', [layers.slice(row, 3, 0, 1), layers.slice(row, 3, prefix)], { axis: 3 }, output);
}

/** Class token with its position, then registers, which have none, (1, 1 + R, D). */
function firstTokens(graph: GraphBuilder, backbone: VisionTransformer): string {
  const values = scope(() =>
    noGrad(() => {
      const placed = backbone.cls_token.add(backbone.pos_embed.slice(1, 0, 1)); // (1, 1, D)
      const registers = backbone instanceof Dinov2 ? backbone.register_tokens : null;
      return valuesOf(registers === null ? placed : ops.cat([placed, registers], 1));
    }),
  );
  return graph.weight('cls_token', [1, backbone.prefixTokens, backbone.embedDim], values);
}

/** Positions of the patches at one size, (1, N, D). */
function fixedPositions(
  graph: GraphBuilder,
  backbone: VisionTransformer,
  [height, width]: readonly [number, number],
): string {
  return scope(() =>
    noGrad(() => {
      const positions = backbone.interpolatePosEncoding(height, width).slice(1, 1); // (1, N, D)
      return graph.weight('pos_embed', positions.shape, valuesOf(positions));
    }),
  );
}

/** Torch's bicubic kernel (Keys 1981) has a = -0.75, with antialiasing -0.5 as Pillow's. */
const A = -0.75;
const A_ANTIALIASED = -0.5;
/** How many samples the kernel may reach beyond the grid on each side, where the edge is repeated. */
const MARGIN = 2;

/**
 * Positions of the patches for the input's size, (1, N, D), as interpolatePosEncoding(): along each axis a matrix of the
 * bicubic kernel's values, (new, old). Not ONNX's Resize: onnxruntime's copies its input whenever the size stays the same,
 * also when the scale (with the reference's 0.1) is not 1.
 */
function addPositions(graph: GraphBuilder, backbone: VisionTransformer, pixels: string): string {
  return graph.within('pos_embed', () => {
    const { embedDim, patchSize, prefixTokens } = backbone;
    const side = Math.round(Math.sqrt(backbone.pos_embed.size(1) - 1));
    const isAntialiased = prefixTokens > 1; // the releases with registers (src/models/dinov2.ts)
    const margin = isAntialiased ? 0 : MARGIN;
    const padded = side + 2 * margin;
    const grid = graph.weight('pos_embed', [embedDim, padded, padded], paddedGrid(backbone, side, margin));
    const extent = (axis: number): string => graph.node('Shape', [pixels], { start: axis, end: axis + 1 });
    const [height, width] = [extent(2), extent(3)];
    const [rows, columns] = [height, width].map((x) => graph.node('Div', [x, graph.ints(patchSize)])) as [
      string,
      string,
    ];
    const kernel = isAntialiased
      ? (count: string) => antialiasedKernel(graph, count, side)
      : referenceKernel(graph, { rows, columns, height, width }, side, padded);
    const down = graph.node('MatMul', [kernel(rows), grid]); // (D, rows, padded)
    const across = graph.node('MatMul', [down, graph.node('Transpose', [kernel(columns)], { perm: [1, 0] })]); // (D, rows, columns)
    const flat = graph.node('Reshape', [across, graph.ints(1, embedDim, -1)]); // (1, D, N)
    return graph.node('Transpose', [flat], { perm: [0, 2, 1] }); // (1, N, D)
  });
}

const toFloat = (graph: GraphBuilder, x: string): string => graph.node('Cast', [x], { to: 1 });

/** Distances of old positions, from `first` on, to the centres of new ones `step` apart, (new, old). */
function distances(
  graph: GraphBuilder,
  count: string,
  step: string,
  { first, length }: { first: number; length: number },
): string {
  const node: GraphBuilder['node'] = (...given) => graph.node(...given);
  const half = graph.float(0.5);
  const index = toFloat(graph, node('Range', [graph.int(0), node('Squeeze', [count]), graph.int(1)])); // (new)
  const centre = node('Sub', [node('Mul', [node('Add', [index, half]), step]), half]);
  const old = Float32Array.from({ length }, (_, i) => i + first);
  const places = graph.weight('pos_embed/places', [1, length], old);
  return node('Abs', [node('Sub', [node('Unsqueeze', [centre, graph.ints(1)]), places])]);
}

/** The cubic kernel at distances. */
function cubic(graph: GraphBuilder, d: string, a: number): string {
  const constant = (value: number): string => graph.float(value);
  // Horner's scheme, from the highest power
  const polynomial = (...coefficients: number[]): string =>
    coefficients
      .slice(1)
      .reduce(
        (sum, c) => graph.node('Add', [graph.node('Mul', [sum, d]), constant(c)]),
        constant(coefficients[0]!),
      );
  const near = polynomial(a + 2, -(a + 3), 0, 1);
  const far = polynomial(a, -5 * a, 8 * a, -4 * a);
  const beyond = graph.node('Where', [graph.node('Less', [d, constant(2)]), far, constant(0)]);
  return graph.node('Where', [graph.node('LessOrEqual', [d, constant(1)]), near, beyond]);
}

/** (new, padded): how much of each old position goes into each new one in the reference, with its 0.1. */
function referenceKernel(
  graph: GraphBuilder,
  { rows, columns, height, width }: Record<'rows' | 'columns' | 'height' | 'width', string>,
  side: number,
  padded: number,
): (count: string) => string {
  const node: GraphBuilder['node'] = (...given) => graph.node(...given);
  const isSameCount = node('Equal', [node('Mul', [rows, columns]), graph.ints(side * side)]);
  const isLearned = node('And', [isSameCount, node('Equal', [height, width])]);
  return (count) => {
    const wanted = node('Add', [toFloat(graph, count), graph.float(0.1)]);
    const step = node('Where', [isLearned, graph.float(1), node('Div', [graph.float(side), wanted])]);
    return cubic(graph, distances(graph, count, step, { first: -MARGIN, length: padded }), A);
  };
}

/** The same with antialiasing: wider where the grid shrinks, and cut off at its edges, so that rows are made to sum to 1. */
function antialiasedKernel(graph: GraphBuilder, count: string, side: number): string {
  const node: GraphBuilder['node'] = (...given) => graph.node(...given);
  const growth = node('Div', [toFloat(graph, count), graph.float(side)]);
  const step = node('Div', [graph.float(1), growth]);
  const d = distances(graph, count, step, { first: 0, length: side }); // (new, side)
  const shares = cubic(graph, node('Mul', [d, node('Min', [growth, graph.float(1)])]), A_ANTIALIASED);
  return node('Div', [shares, node('ReduceSum', [shares, graph.ints(1)], { keepdims: 1 })]);
}

/** The learned positions as a grid with its edge repeated around it, (D, side + 2 margin, side + 2 margin). */
function paddedGrid(backbone: VisionTransformer, side: number, margin: number): Float32Array {
  const { embedDim } = backbone;
  const learnt = scope(() => valuesOf(backbone.pos_embed.slice(1, 1))); // (1, side * side, D)
  const padded = side + 2 * margin;
  const inside = (i: number): number => Math.min(Math.max(i - margin, 0), side - 1);
  const values = new Float32Array(embedDim * padded * padded);
  let i = 0;
  for (let channel = 0; channel < embedDim; channel++) {
    for (let y = 0; y < padded; y++) {
      for (let x = 0; x < padded; x++) {
        values[i++] = learnt[(inside(y) * side + inside(x)) * embedDim + channel]!;
      }
    }
  }
  return values;
}
