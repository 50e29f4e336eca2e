/**
 * The vision transformer as an ONNX graph: node for node what src/models/vision-transformer.ts does in evaluation, in
 * operators of opset 17, which every current runtime has. Matrices are stored as (in, out), so that a token's row is
 * multiplied from the left.
 */
import type { VisionTransformer } from '../../models/index.js';
import { noGrad, scope } from '../../torch/index.js';
import type { Dimension, GraphBuilder } from './graph-builder.js';
import { Layers, valuesOf } from './layers.js';

export interface TransformerGraphOptions {
  /** Pixels, [height, width]; null for any size: position embeddings are then interpolated in the graph. */
  size: readonly [height: number, width: number] | null;
  /** Names of the outputs to make. */
  outputs: {
    /** (B, 1 + N, D) */
    tokens?: string;
    /** (B, D) */
    classToken?: string;
    /** (B, N, D) */
    patchTokens?: string;
    /** (B, heads, 1 + N, 1 + N) */
    attention?: string;
    /** (B, heads, 1, 1 + N): the class token's row of the last block's attention. */
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
  const { embedDim: width, numHeads: heads, patchSize } = backbone;
  const layers = new Layers(graph, backbone);

  const projected = layers.conv(pixels, 'patch_embed.proj', { stride: patchSize }); // (B, D, rows, columns)
  const flat = graph.node('Reshape', [projected, graph.ints(0, width, -1)]); // (B, D, N)
  const patches = graph.node('Transpose', [flat], { perm: [0, 2, 1] }); // (B, N, D)
  const positions =
    size === null ? addPositions(graph, backbone, pixels) : fixedPositions(graph, backbone, size);
  const batch = graph.node('Shape', [pixels], { start: 0, end: 1 });
  const classShape = graph.node('Concat', [batch, graph.ints(1, width)], { axis: 0 });
  const classTokens = graph.node('Expand', [classToken(graph, backbone), classShape]); // (B, 1, D)
  const placed = graph.node('Add', [patches, positions]);
  let x = graph.node('Concat', [classTokens, placed], { axis: 1 }); // (B, 1 + N, D)

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
      const attended = graph.node('Add', [x, layers.linear(together, `${name}.attn.proj`)]);
      const hidden = layers.gelu(
        layers.linear(layers.layerNorm(attended, `${name}.norm2`), `${name}.mlp.fc1`),
      );
      return graph.node('Add', [attended, layers.linear(hidden, `${name}.mlp.fc2`)]);
    });
  }

  const count: Dimension =
    size === null ? 'patches' : Math.floor(size[0] / patchSize) * Math.floor(size[1] / patchSize);
  const all: Dimension = size === null ? 'tokens' : (count as number) + 1;
  const tokens = layers.layerNorm(x, 'norm', outputs.tokens); // (B, 1 + N, D)
  if (outputs.tokens !== undefined) {
    graph.output(outputs.tokens, ['batch', all, width], 'the class token, then the patches row by row');
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
    layers.slice(tokens, 1, 1, undefined, outputs.patchTokens); // (B, N, D)
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
    addClassAttention(graph, layers, lastWeights, outputs.classAttention, ['batch', heads, 1, all]);
  }
}

/** The class token's attention: only its row, since all rows together would be by far the largest output. */
function addClassAttention(
  graph: GraphBuilder,
  layers: Layers,
  weights: string,
  output: string,
  dims: readonly Dimension[],
): void {
  layers.slice(weights, 2, 0, 1, output); // (B, heads, 1, 1 + N)
  graph.output(output, dims, "the class token's attention in the last block over all tokens; sums to 1");
}

/** Class token with its position, (1, 1, D). */
function classToken(graph: GraphBuilder, backbone: VisionTransformer): string {
  const values = scope(() =>
    noGrad(() => valuesOf(backbone.cls_token.add(backbone.pos_embed.slice(1, 0, 1)))),
  );
  return graph.weight('cls_token', [1, 1, backbone.embedDim], values);
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

/** Torch's bicubic kernel (Keys 1981) has a = -0.75. */
const A = -0.75;
/** How many samples the kernel may reach beyond the grid on each side, where the edge is repeated. */
const MARGIN = 2;

/**
 * Positions of the patches for the input's size, (1, N, D), as interpolatePosEncoding(): along each axis a matrix of the
 * bicubic kernel's values, (new, old). Not ONNX's Resize: onnxruntime's copies its input whenever the size stays the same,
 * also when the scale (with the reference's 0.1) is not 1.
 */
function addPositions(graph: GraphBuilder, backbone: VisionTransformer, pixels: string): string {
  return graph.within('pos_embed', () => {
    const { embedDim, patchSize } = backbone;
    const side = Math.round(Math.sqrt(backbone.pos_embed.size(1) - 1));
    const padded = side + 2 * MARGIN;
    const grid = graph.weight('pos_embed', [embedDim, padded, padded], paddedGrid(backbone, side));
    const extent = (axis: number): string => graph.node('Shape', [pixels], { start: axis, end: axis + 1 });
    const [height, width] = [extent(2), extent(3)];
    const [rows, columns] = [height, width].map((x) => graph.node('Div', [x, graph.ints(patchSize)])) as [
      string,
      string,
    ];
    const isSameCount = graph.node('Equal', [graph.node('Mul', [rows, columns]), graph.ints(side * side)]);
    const isLearned = graph.node('And', [isSameCount, graph.node('Equal', [height, width])]);

    const node: GraphBuilder['node'] = (...given) => graph.node(...given);
    const constant = (value: number): string => graph.float(value);
    const toFloat = (x: string): string => node('Cast', [x], { to: 1 });
    /** (new, padded): how much of each old position goes into each new one. */
    const kernel = (count: string): string => {
      const step = node('Where', [
        isLearned,
        constant(1),
        node('Div', [constant(side), node('Add', [toFloat(count), constant(0.1)])]),
      ]);
      const index = toFloat(node('Range', [graph.int(0), node('Squeeze', [count]), graph.int(1)])); // (new)
      const centre = node('Sub', [node('Mul', [node('Add', [index, constant(0.5)]), step]), constant(0.5)]);
      const old = Float32Array.from({ length: padded }, (_, i) => i - MARGIN);
      const places = graph.weight('pos_embed/places', [1, padded], old);
      const d = node('Abs', [node('Sub', [node('Unsqueeze', [centre, graph.ints(1)]), places])]); // (new, padded)
      // Horner's scheme, from the highest power
      const polynomial = (...coefficients: number[]): string =>
        coefficients
          .slice(1)
          .reduce((sum, c) => node('Add', [node('Mul', [sum, d]), constant(c)]), constant(coefficients[0]!));
      const near = polynomial(A + 2, -(A + 3), 0, 1);
      const far = polynomial(A, -5 * A, 8 * A, -4 * A);
      const beyond = node('Where', [node('Less', [d, constant(2)]), far, constant(0)]);
      return node('Where', [node('LessOrEqual', [d, constant(1)]), near, beyond]);
    };
    const down = node('MatMul', [kernel(rows), grid]); // (D, rows, padded)
    const across = node('MatMul', [down, node('Transpose', [kernel(columns)], { perm: [1, 0] })]); // (D, rows, columns)
    const flat = node('Reshape', [across, graph.ints(1, embedDim, -1)]); // (1, D, N)
    return node('Transpose', [flat], { perm: [0, 2, 1] }); // (1, N, D)
  });
}

/** The learned positions as a grid with its edge repeated around it, (D, side + 4, side + 4). */
function paddedGrid(backbone: VisionTransformer, side: number): Float32Array {
  const { embedDim } = backbone;
  const learnt = scope(() => valuesOf(backbone.pos_embed.slice(1, 1))); // (1, side * side, D)
  const padded = side + 2 * MARGIN;
  const inside = (i: number): number => Math.min(Math.max(i - MARGIN, 0), side - 1);
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
