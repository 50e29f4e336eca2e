/** Layers of a module as ONNX nodes, by their state names; numbers as PyTorch's. */
import { scope, type Tensor } from '../../torch/index.js';
import { float, type GraphBuilder } from './graph-builder.js';
import { LAYER_NORM_EPS } from '../../models/vision-transformer.js';

const BATCH_NORM_EPS = 1e-5;
/** ONNX's "to the end" of a slice. */
const END = 2 ** 53 - 1;

/** A tensor's values on the CPU. */
export const valuesOf = (tensor: Tensor): Float32Array =>
  scope(() => tensor.detach().to('cpu').contiguous().toTypedArray() as Float32Array);

export class Layers {
  readonly #state: ReadonlyMap<string, Tensor>;

  constructor(
    readonly graph: GraphBuilder,
    module: { stateDict(): ReadonlyMap<string, Tensor> },
  ) {
    this.#state = module.stateDict();
  }

  has(name: string): boolean {
    return this.#state.has(name);
  }

  shape(name: string): readonly number[] {
    return this.#tensor(name).shape;
  }

  /** A tensor of the state as it is. */
  weight(name: string): string {
    const tensor = this.#tensor(name);
    return this.graph.weight(name, tensor.shape, valuesOf(tensor));
  }

  /** (..., in) to (..., out); the matrix is stored as (in, out). */
  linear(x: string, name: string): string {
    const weight = this.#tensor(`${name}.weight`); // (out, in)
    const [rows = 0, columns = 0] = weight.shape;
    const transposed = scope(() => valuesOf(weight.transpose(0, 1)));
    const matrix = this.graph.weight(`${name}.weight`, [columns, rows], transposed);
    const product = this.graph.node('MatMul', [x, matrix]);
    return this.has(`${name}.bias`)
      ? this.graph.node('Add', [product, this.weight(`${name}.bias`)])
      : product;
  }

  layerNorm(x: string, name: string, output?: string, epsilon = LAYER_NORM_EPS): string {
    const inputs = [x, this.weight(`${name}.weight`), this.weight(`${name}.bias`)];
    return this.graph.node('LayerNormalization', inputs, { axis: -1, epsilon: float(epsilon) }, output);
  }

  /** By its running statistics. */
  batchNorm(x: string, name: string): string {
    const parts = ['weight', 'bias', 'running_mean', 'running_var'];
    const inputs = [x, ...parts.map((part) => this.weight(`${name}.${part}`))];
    return this.graph.node('BatchNormalization', inputs, { epsilon: float(BATCH_NORM_EPS) });
  }

  conv(
    x: string,
    name: string,
    options: { stride?: number; padding?: number; groups?: number } = {},
  ): string {
    const { stride = 1, padding = 0, groups = 1 } = options;
    const [, , height = 1, width = 1] = this.shape(`${name}.weight`);
    const bias = this.has(`${name}.bias`) ? [this.weight(`${name}.bias`)] : [];
    return this.graph.node('Conv', [x, this.weight(`${name}.weight`), ...bias], {
      kernel_shape: [height, width],
      strides: [stride, stride],
      pads: [padding, padding, padding, padding],
      group: groups,
    });
  }

  /** x * Phi(x), as torch's exact GELU; runtimes know this pattern. */
  gelu(x: string): string {
    const { graph } = this;
    const error = graph.node('Erf', [graph.node('Div', [x, graph.float(Math.SQRT2)])]);
    const phi = graph.node('Mul', [x, graph.node('Add', [error, graph.float(1)])]);
    return graph.node('Mul', [phi, graph.float(0.5)]);
  }

  /** Elements from `start` to before `end` of an axis. */
  slice(x: string, axis: number, start: number, end = END, output?: string): string {
    const { graph } = this;
    return graph.node('Slice', [x, graph.ints(start), graph.ints(end), graph.ints(axis)], {}, output);
  }

  #tensor(name: string): Tensor {
    const found = this.#state.get(name);
    if (found === undefined) throw new Error(`internal: the model has no ${name}`);
    return found;
  }
}
