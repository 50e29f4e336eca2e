/**
 * Low-rank updates (LoRA: Hu et al. 2021, arXiv 2106.09685; for going on with self-supervision, ExPLoRA: Khanna et al. 2024,
 * arXiv 2406.10973): of a backbone's weights only the attention's `qkv` and `proj` change, each by a product B A of rank r,
 * and the given weights stay as they are. B begins at zero, so that training begins with the given weights, to the bit.
 *
 * The networks don't know of it. The student's weights are W = base + B A at every time; a step computes their gradient dW,
 * which the chain rule turns into dA = B^T dW and dB = dW A^T. These are what the optimizer sees. What is saved is merged by
 * construction, and the teacher is the running average of merged weights.
 */
import { CheckpointError, ConfigError } from '../errors.js';
import { defaultUniform_, type Module } from '../nn/index.js';
import type { NamedParameter } from '../optim/index.js';
import { noGrad, Parameter, scope, type Tensor, zeros } from '../torch/index.js';

export interface LowRankOptions {
  /** r. */
  rank: number;
  /** How many of the last blocks change; default: all. */
  layers?: number | undefined;
  /** Whether a parameter of the backbone is trained as it is, by its name there; default: none is. */
  isTrained?: (name: string) => boolean;
}

/** The weights that change: (out, in) of a block's attention. */
const ADAPTED = /^backbone\.blocks\.(\d+)\.attn\.(?:qkv|proj)\.weight$/;
const BACKBONE = 'backbone.';

interface Update {
  /** Of the weight, in the student. */
  name: string;
  weight: Parameter;
  /** (out, in) */
  base: Tensor;
  /** (r, in) */
  a: Parameter;
  /** (out, r) */
  b: Parameter;
}

export class LowRankUpdates {
  readonly #updates: readonly Update[];

  /**
   * Freezes the student's backbone, and makes the updates; A is drawn from the default generator.
   * @throws ConfigError for a backbone without attention in blocks, a rank above a weight's own, or too many layers
   */
  constructor(student: Module, { rank, layers, isTrained = () => false }: LowRankOptions) {
    const parameters = [...student.namedParameters()];
    const blockOf = (name: string): number => Number(ADAPTED.exec(name)?.[1] ?? -1);
    const depth = 1 + Math.max(-1, ...parameters.map(([name]) => blockOf(name)));
    if (depth === 0)
      throw new ConfigError(
        '--lora-rank changes the attention of a transformer, and this backbone has none: leave it out',
      );
    const count = layers ?? depth;
    if (count > depth) throw new ConfigError(`--lora-layers is ${count}, but there are ${depth} blocks`);
    const adapted = parameters.filter(([name]) => blockOf(name) >= depth - count);
    const most = Math.min(...adapted.flatMap(([, weight]) => weight.shape));
    if (rank > most)
      throw new ConfigError(
        `--lora-rank is ${rank}, but the weights that it changes have rank ${most}: choose less, such as ${Math.min(16, most)}`,
      );
    for (const [name, parameter] of parameters) {
      const isFrozen = name.startsWith(BACKBONE) && !isTrained(name.slice(BACKBONE.length));
      if (isFrozen && !adapted.some(([other]) => other === name)) parameter.requiresGrad = false;
    }
    this.#updates = adapted.map(([name, weight]) => {
      const [out = 0, width = 0] = weight.shape;
      const { device, dtype } = weight;
      const a = new Parameter(zeros([rank, width], { device, dtype }));
      defaultUniform_(a, width);
      const b = new Parameter(zeros([out, rank], { device, dtype }));
      const base = noGrad(() => weight.detach().clone()).keep();
      return { name, weight, base, a, b };
    });
  }

  /** What the optimizer trains of the student: these, and what is not frozen without being changed by them. */
  parametersOf(student: Module): NamedParameter[] {
    const changed = new Set(this.#updates.map(({ name }) => name));
    return [
      ...[...student.namedParameters()].filter(
        ([name, { requiresGrad }]) => requiresGrad && !changed.has(name),
      ),
      ...this.#updates.flatMap(({ name, a, b }): NamedParameter[] => {
        const of = name.replace(/\.weight$/, '');
        return [
          [`${of}.lora_A`, a],
          [`${of}.lora_B`, b],
        ];
      }),
    ];
  }

  /** Takes the student's weights of now for the given ones, as long as nothing was trained. */
  begin(): void {
    noGrad(() => {
      for (const { weight, base } of this.#updates) base.copy_(weight);
    });
  }

  /** Turns the gradients of the weights into those of A and B. */
  pullBack(): void {
    noGrad(() => {
      for (const { weight, a, b } of this.#updates) {
        const gradient = weight.grad;
        weight.grad = null;
        a.grad = gradient === null ? null : b.t().matmul(gradient); // (r, in)
        b.grad = gradient === null ? null : gradient.matmul(a.t()); // (out, r)
      }
    });
  }

  /** Drops all gradients. */
  zeroGrad(): void {
    for (const { weight, a, b } of this.#updates) weight.grad = a.grad = b.grad = null;
  }

  /** Puts base + B A into the student. */
  merge(): void {
    scope(() =>
      noGrad(() => {
        for (const { weight, base, a, b } of this.#updates) weight.copy_(base.add(b.matmul(a)));
      }),
    );
  }

  dispose(): void {
    for (const { base, a, b } of this.#updates) for (const tensor of [base, a, b]) tensor.dispose();
  }

  /** For a checkpoint. They are not copies. */
  stateDict(): Map<string, Tensor> {
    return new Map(
      this.#updates.flatMap(({ name, base, a, b }) => [
        [`lora.${name}.base`, base],
        [`lora.${name}.A`, a],
        [`lora.${name}.B`, b],
      ]),
    );
  }

  /** Copies in what stateDict() returned; the student's weights have been restored by themselves. */
  loadStateDict(take: (name: string) => Tensor): void {
    noGrad(() => {
      for (const [name, tensor] of this.stateDict()) {
        const found = take(name);
        if (found.shape.join() !== tensor.shape.join())
          throw new CheckpointError(
            `shape of ${name}: expected [${tensor.shape.join(', ')}], got [${found.shape.join(', ')}]`,
          );
        tensor.copy_(found);
      }
    });
  }
}
