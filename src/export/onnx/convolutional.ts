/**
 * ResNets (torchvision's) and XCiTs (facebookresearch/xcit) as ONNX graphs, recognized by their state names, for images of
 * any size. Each gives the feature of an image; with class attention its weights too, and a ResNet the patches' features.
 */
import type { AttentiveBackbone, Backbone } from '../../models/index.js';
import type { Module } from '../../nn/index.js';
import type { Dimension, GraphBuilder } from './graph-builder.js';
import { Layers } from './layers.js';
import { FOURIER_DIM, FOURIER_TEMPERATURE } from '../../models/xcit.js';

const hasStages = (state: ReadonlyMap<string, unknown>): boolean => state.has('layer1.0.conv1.weight');
/** A ResNet whose positions are averaged. */
export const isResNet = (module: Module): boolean =>
  hasStages(module.stateDict()) && !hasClassAttention(module);
/** An XCiT, or a ResNet, whose positions a class token asks. */
export const hasClassAttention = (module: Module): boolean =>
  module.stateDict().has('cls_attn_blocks.0.attn.qkv.weight');

/** A ResNet's positions, (B, C, rows, columns), of pixels (B, 3, H, W). */
function addStages(graph: GraphBuilder, layers: Layers, pixels: string): string {
  const relu = (x: string): string => graph.node('Relu', [x]);
  const isLarge = layers.shape('conv1.weight')[2] === 7; // torchvision's stem; a small one keeps the images' size
  const isAsked = layers.has('cls_token'); // by a class token, whose stem halves the image
  const entry = { stride: isLarge || isAsked ? 2 : 1, padding: isLarge ? 3 : 1 };
  let x = relu(layers.batchNorm(layers.conv(pixels, 'conv1', entry), 'bn1'));
  if (isLarge) x = graph.node('MaxPool', [x], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] });
  for (let stage = 1; stage <= 4; stage++) {
    for (let i = 0; layers.has(`layer${stage}.${i}.conv1.weight`); i++) {
      const name = `layer${stage}.${i}`;
      const convolutions = layers.has(`${name}.conv3.weight`) ? 3 : 2;
      const halving = stage > 1 && i === 0 ? 2 : 1;
      let inner = x;
      for (let n = 1; n <= convolutions; n++) {
        const stride = n === convolutions - 1 ? halving : 1; // the 3 x 3 of a bottleneck, the first of a basic block
        const padding = layers.shape(`${name}.conv${n}.weight`)[2] === 3 ? 1 : 0;
        inner = layers.batchNorm(
          layers.conv(inner, `${name}.conv${n}`, { stride, padding }),
          `${name}.bn${n}`,
        );
        if (n < convolutions) inner = relu(inner);
      }
      const skip = layers.has(`${name}.downsample.0.weight`)
        ? layers.batchNorm(
            layers.conv(x, `${name}.downsample.0`, { stride: halving }),
            `${name}.downsample.1`,
          )
        : x;
      x = relu(graph.node('Add', [inner, skip]));
    }
  }
  return x;
}

/** Builds a ResNet from pixels (B, 3, H, W) to `output` (B, D). */
export function addResNet(graph: GraphBuilder, module: Backbone, pixels: string, output: string): void {
  graph.output(output, ['batch', module.embedDim], 'the feature of an image');
  const x = addStages(graph, new Layers(graph, module), pixels);
  graph.node('Flatten', [graph.node('GlobalAveragePool', [x])], { axis: 1 }, output);
}

/** What the parts of an XCiT and a ResNet's class attention have in common. */
function partsOf(graph: GraphBuilder, layers: Layers, heads: number) {
  const width = layers.shape('cls_token')[2] as number;
  const head = width / heads;
  const node: GraphBuilder['node'] = (...given) => graph.node(...given);
  const scaled = (x: string, name: string): string => node('Mul', [x, layers.weight(name)]);
  const mlp = (x: string, name: string): string =>
    layers.linear(layers.gelu(layers.linear(x, `${name}.fc1`)), `${name}.fc2`);
  /** q, k, v of tokens (B, N, C) in the order of `perm` over (B, N, 3, heads, head). */
  const project = (x: string, name: string, perm: number[]): string[] => {
    const split = node('Reshape', [layers.linear(x, name), graph.ints(0, 0, 3, heads, head)]);
    const turned = node('Transpose', [split], { perm });
    return [0, 1, 2].map((n) => node('Gather', [turned, graph.int(n)], { axis: 0 }));
  };
  /** (B, C, rows, columns) to (B, N, C). */
  const toTokens = (grid: string, output?: string): string =>
    node('Transpose', [node('Reshape', [grid, graph.ints(0, width, -1)])], { perm: [0, 2, 1] }, output);
  return { width, head, node, scaled, mlp, project, toTokens };
}

/** Sines and cosines of the positions 1 to `length` (1 value), (length, 32). */
function addAxis(graph: GraphBuilder, length: string): string {
  const count = graph.node('Squeeze', [length]);
  const range = graph.node('Range', [graph.int(1), graph.node('Add', [count, graph.int(1)]), graph.int(1)]);
  const [at, all] = [range, count].map((x) => graph.node('Cast', [x], { to: 1 })) as [string, string];
  const share = graph.node('Div', [at, graph.node('Add', [all, graph.float(1e-6)])]);
  const turn = graph.node('Unsqueeze', [graph.node('Mul', [share, graph.float(2 * Math.PI)]), graph.ints(1)]);
  const channels = Array.from({ length: FOURIER_DIM }, (_, i) => i);
  const periods = channels.map((i) => FOURIER_TEMPERATURE ** ((2 * Math.floor(i / 2)) / FOURIER_DIM));
  const angles = graph.node('Div', [
    turn,
    graph.weight('pos_embeder.periods', [1, FOURIER_DIM], Float32Array.from(periods)),
  ]); // (length, 32)
  const sines = graph.weight(
    'pos_embeder.sines',
    [1, FOURIER_DIM],
    Float32Array.from(channels, (i) => 1 - (i % 2)),
  );
  const cosines = graph.weight(
    'pos_embeder.cosines',
    [1, FOURIER_DIM],
    Float32Array.from(channels, (i) => i % 2),
  );
  return graph.node('Add', [
    graph.node('Mul', [graph.node('Sin', [angles]), sines]),
    graph.node('Mul', [graph.node('Cos', [angles]), cosines]),
  ]);
}

/** An XCiT's tokens before the class attention, (B, N, C), of pixels (B, 3, H, W). */
function addXCiTTokens(graph: GraphBuilder, layers: Layers, pixels: string, heads: number): string {
  const { width, node, scaled, project, mlp, toTokens } = partsOf(graph, layers, heads);

  let grid = pixels;
  for (let i = 0; layers.has(`patch_embed.proj.${i}.0.weight`); i += 2) {
    if (i > 0) grid = layers.gelu(grid);
    const name = `patch_embed.proj.${i}`;
    grid = layers.batchNorm(layers.conv(grid, `${name}.0`, { stride: 2, padding: 1 }), `${name}.1`);
  } // (B, C, rows, columns)
  const gridShape = node('Shape', [grid]);
  const [rows, columns] = [2, 3].map((axis) => node('Shape', [grid], { start: axis, end: axis + 1 })) as [
    string,
    string,
  ];
  const full = node('Concat', [rows, columns, graph.ints(FOURIER_DIM)], { axis: 0 });
  const down = node('Expand', [node('Unsqueeze', [addAxis(graph, rows), graph.ints(1)]), full]);
  const across = node('Expand', [node('Unsqueeze', [addAxis(graph, columns), graph.ints(0)]), full]);
  const both = node('Transpose', [node('Concat', [down, across], { axis: 2 })], { perm: [2, 0, 1] });
  const positions = layers.conv(
    node('Unsqueeze', [both, graph.ints(0)]), // (1, 64, rows, columns)
    'pos_embeder.token_projection',
  );
  let x = toTokens(node('Add', [grid, positions])); // (B, N, C)

  for (let i = 0; layers.has(`blocks.${i}.attn.qkv.weight`); i++) {
    const name = `blocks.${i}`;
    const [q, k, v] = project(layers.layerNorm(x, `${name}.norm1`), `${name}.attn.qkv`, [2, 0, 3, 4, 1]) as [
      string,
      string,
      string,
    ]; // (B, heads, head, N) each
    const unit = (y: string): string => {
      const length = node('ReduceL2', [y], { axes: [-1], keepdims: 1 });
      return node('Div', [y, node('Max', [length, graph.float(1e-12)])]);
    };
    const products = node('MatMul', [unit(q), node('Transpose', [unit(k)], { perm: [0, 1, 3, 2] })]);
    const weights = node('Softmax', [scaled(products, `${name}.attn.temperature`)], { axis: -1 });
    const mixed = node('Transpose', [node('MatMul', [weights, v])], { perm: [0, 3, 1, 2] }); // (B, N, heads, head)
    const joined = node('Reshape', [mixed, graph.ints(0, 0, width)]);
    x = node('Add', [x, scaled(layers.linear(joined, `${name}.attn.proj`), `${name}.gamma1`)]);

    const turned = node('Transpose', [layers.layerNorm(x, `${name}.norm3`)], { perm: [0, 2, 1] });
    const local = node('Reshape', [turned, gridShape]); // (B, C, rows, columns)
    const depthwise = { padding: 1, groups: width };
    const first = layers.gelu(layers.conv(local, `${name}.local_mp.conv1`, depthwise));
    const normed = layers.batchNorm(first, `${name}.local_mp.bn`);
    const spoken = toTokens(layers.conv(normed, `${name}.local_mp.conv2`, depthwise));
    x = node('Add', [x, scaled(spoken, `${name}.gamma3`)]);
    x = node('Add', [x, scaled(mlp(layers.layerNorm(x, `${name}.norm2`), `${name}.mlp`), `${name}.gamma2`)]);
  }

  return x;
}

/** Names of what is made; what has none is left out. */
export interface ClassAttentionOutputs {
  /** (B, D) */
  feature?: string | undefined;
  /** (B, N, D): the positions that the class token asks. Only of a ResNet. */
  patches?: string | undefined;
  /** (B, heads, 1, 1 + N): the weights of the last class attention. */
  attention?: string | undefined;
}

/**
 * Builds an XCiT, or a ResNet whose positions a class token asks, from pixels (B, 3, H, W) to the outputs.
 * @param count - N.
 */
export function addClassAttention(
  graph: GraphBuilder,
  module: AttentiveBackbone,
  pixels: string,
  count: Dimension,
  outputs: ClassAttentionOutputs,
): void {
  const { numHeads: heads } = module;
  const layers = new Layers(graph, module);
  const { width, head, node, scaled, mlp, project, toTokens } = partsOf(graph, layers, heads);
  if (outputs.feature !== undefined)
    graph.output(outputs.feature, ['batch', width], 'the feature of an image');
  if (outputs.patches !== undefined)
    graph.output(
      outputs.patches,
      ['batch', count, width],
      'the positions that the class token asks, row by row',
    );
  if (outputs.attention !== undefined)
    graph.output(
      outputs.attention,
      ['batch', heads, 1, typeof count === 'string' ? 'tokens' : count + 1],
      "the class token's attention in the last block over all tokens; sums to 1",
    );
  const positions = hasStages(module.stateDict())
    ? toTokens(addStages(graph, layers, pixels), outputs.patches)
    : addXCiTTokens(graph, layers, pixels, heads); // (B, N, C)
  if (outputs.feature === undefined && outputs.attention === undefined) return;
  const batch = node('Shape', [pixels], { start: 0, end: 1 });
  const classShape = node('Concat', [batch, graph.ints(1, width)], { axis: 0 });
  let x = node('Concat', [node('Expand', [layers.weight('cls_token'), classShape]), positions], { axis: 1 }); // (B, 1 + N, C)
  for (let i = 0; layers.has(`cls_attn_blocks.${i}.attn.qkv.weight`); i++) {
    const name = `cls_attn_blocks.${i}`;
    const input = layers.layerNorm(x, `${name}.norm1`);
    const [q, k, v] = project(input, `${name}.attn.qkv`, [2, 0, 3, 1, 4]) as [string, string, string];
    const query = node('Mul', [layers.slice(q, 2, 0, 1), graph.float(head ** -0.5)]); // (B, heads, 1, head)
    const products = node('MatMul', [query, node('Transpose', [k], { perm: [0, 1, 3, 2] })]);
    const isLast = !layers.has(`cls_attn_blocks.${i + 1}.attn.qkv.weight`);
    const weights = node('Softmax', [products], { axis: -1 }, isLast ? outputs.attention : undefined); // (B, heads, 1, 1 + N)
    const mixed = node('MatMul', [weights, v]); // (B, heads, 1, head)
    const joined = node('Reshape', [
      node('Transpose', [mixed], { perm: [0, 2, 1, 3] }),
      graph.ints(0, 0, width),
    ]);
    const cls = layers.linear(joined, `${name}.attn.proj`); // (B, 1, C)
    const attended = node('Concat', [cls, layers.slice(input, 1, 1)], { axis: 1 });
    x = node('Add', [x, scaled(attended, `${name}.gamma1`)]);
    const normed = layers.layerNorm(x, `${name}.norm2`);
    const own = scaled(mlp(layers.slice(normed, 1, 0, 1), `${name}.mlp`), `${name}.gamma2`);
    x = node('Add', [normed, node('Concat', [own, layers.slice(normed, 1, 1)], { axis: 1 })]);
  }
  node('Gather', [layers.layerNorm(x, 'norm'), graph.int(0)], { axis: 1 }, outputs.feature); // (B, C)
}
