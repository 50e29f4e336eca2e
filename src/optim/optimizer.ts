/**
 * What the optimizers share: parameters in two groups, state tensors for each parameter ("slots"), and saving that state in
 * a checkpoint. As in torch.optim, a parameter without a gradient is skipped and its state doesn't change.
 */
import { CheckpointError } from '../errors.js';
import { noGrad, scope, type Parameter, type Tensor } from '../torch/index.js';
import type { NamedParameter, ParameterGroup } from './parameters.js';

export interface StepOptions {
  /** Learning rate of this step, for both groups. */
  lr: number;
  /** Weight decay of this step, only for the regularized group. */
  weightDecay: number;
  /** Factor of a parameter's learning rate, by its name; default 1 for all. */
  rateOf?: ((name: string) => number) | undefined;
  /**
   * () float32 on the parameters' device, 1 or 0: with 0 nothing changes, whatever the gradients are. The host doesn't wait
   * for it. Default: 1.
   */
  taken?: Tensor | undefined;
}

/** The parameters of a group that have a gradient, with their state: lists of equal length. */
export interface Updates<Slot extends string> {
  names: string[];
  parameters: Parameter[];
  gradients: Tensor[];
  states: Record<Slot, Tensor>[];
}

export abstract class Optimizer<Slot extends string = string> {
  readonly #groups: readonly ParameterGroup[];
  readonly #states = new Map<string, Record<Slot, Tensor>>();

  constructor(groups: readonly ParameterGroup[]) {
    this.#groups = groups;
  }

  /** Names of a parameter's state tensors, as in torch.optim's state_dict(). */
  protected abstract slotsOf(name: string, parameter: Parameter): readonly Slot[];

  /** The state of a parameter before its first step: its slots. */
  protected abstract initialState(parameter: Parameter, name: string): Record<Slot, Tensor>;

  /** Updates the parameters, unless `taken` is 0; called without gradients, in a scope. */
  protected abstract update(
    updates: Updates<Slot>,
    lr: number,
    weightDecay: number,
    taken: Tensor | undefined,
  ): void;

  get #parameters(): NamedParameter[] {
    return this.#groups.flatMap((group) => group.parameters);
  }

  zeroGrad(): void {
    for (const [, parameter] of this.#parameters) parameter.grad = null;
  }

  step({ lr, weightDecay, rateOf = () => 1, taken }: StepOptions): void {
    scope(() =>
      noGrad(() => {
        for (const group of this.#groups) {
          for (const [rate, updates] of this.#byRate(group, rateOf))
            this.update(updates, lr * rate, group.regularized ? weightDecay : 0, taken);
        }
      }),
    );
  }

  /** A group's parameters that have a gradient, by the factor of their learning rate. */
  #byRate(group: ParameterGroup, rateOf: (name: string) => number): Map<number, Updates<Slot>> {
    const byRate = new Map<number, Updates<Slot>>();
    for (const [name, parameter] of group.parameters) {
      const gradient = parameter.grad;
      if (gradient === null) continue;
      const rate = rateOf(name);
      let updates = byRate.get(rate);
      if (updates === undefined)
        byRate.set(rate, (updates = { names: [], parameters: [], gradients: [], states: [] }));
      updates.names.push(name);
      updates.parameters.push(parameter);
      updates.gradients.push(gradient);
      updates.states.push(this.#state(name, parameter));
    }
    return byRate;
  }

  #state(name: string, parameter: Parameter): Record<Slot, Tensor> {
    let state = this.#states.get(name);
    if (state === undefined) {
      state = this.initialState(parameter, name);
      for (const slot of this.slotsOf(name, parameter)) state[slot].keep();
      this.#states.set(name, state);
    }
    return state;
  }

  /** Tensors by name, `<slot>.<parameter>`, such as `exp_avg.head.mlp.0.weight`. They are not copies. */
  stateDict(): Map<string, Tensor> {
    const entries = new Map<string, Tensor>();
    for (const [name, state] of this.#states) {
      for (const [slot, tensor] of Object.entries<Tensor>(state)) entries.set(`${slot}.${name}`, tensor);
    }
    return entries;
  }

  /** Copies in what stateDict() returned. @throws CheckpointError that names everything missing or wrongly shaped. */
  loadStateDict(entries: ReadonlyMap<string, Tensor>): void {
    const problems: string[] = [];
    const unused = new Set(entries.keys());
    const copies: [to: Tensor, from: Tensor][] = [];
    for (const [name, parameter] of this.#parameters) {
      const slots = this.slotsOf(name, parameter);
      if (!slots.some((slot) => entries.has(`${slot}.${name}`))) continue; // it had no gradient yet
      const state = this.#state(name, parameter);
      for (const slot of slots) {
        const key = `${slot}.${name}`;
        unused.delete(key);
        const found = entries.get(key);
        const [expected, got] = [state[slot].shape.join(', '), found?.shape.join(', ')];
        if (found === undefined) problems.push(`missing: ${key}`);
        else if (got !== expected) problems.push(`shape of ${key}: expected [${expected}], got [${got}]`);
        else copies.push([state[slot], found]);
      }
    }
    for (const key of unused) problems.push(`unexpected: ${key}`);
    if (problems.length > 0) {
      throw new CheckpointError(`The optimizer's state doesn't fit the model:\n  ${problems.join('\n  ')}`);
    }
    noGrad(() => {
      for (const [to, from] of copies) to.copy_(from);
    });
  }

  dispose(): void {
    for (const state of this.#states.values())
      for (const tensor of Object.values<Tensor>(state)) tensor.dispose();
    this.#states.clear();
  }
}
