/**
 * Module: parameters, buffers and children are found in the fields that hold them and named as in PyTorch, so that a state
 * saved there loads here and vice versa.
 */
import { CheckpointError } from '../errors.js';
import { elementSize, noGrad, Parameter, scope, Tensor, type DType } from '../torch/index.js';

/**
 * Base of layers and models. A field that holds a Parameter is a parameter, one that holds any other Tensor is a buffer, and
 * one that holds a Module is a child; field names form the state's names, hence snake_case where PyTorch uses it.
 */
export abstract class Module {
  /** Whether dropout and the like are active; set by train() and eval(). */
  training = true;

  /** Own parameters first, then each child's, in the order of the fields, like PyTorch's named_parameters(). */
  *namedParameters(prefix = ''): Generator<readonly [string, Parameter]> {
    for (const [name, value] of Object.entries(this))
      if (value instanceof Parameter) yield [prefix + name, value];
    for (const [name, child] of this.namedChildren()) yield* child.namedParameters(`${prefix}${name}.`);
  }

  *parameters(): Generator<Parameter> {
    for (const [, parameter] of this.namedParameters()) yield parameter;
  }

  *namedBuffers(prefix = ''): Generator<readonly [string, Tensor]> {
    for (const [name, value] of Object.entries(this)) {
      if (value instanceof Tensor && !(value instanceof Parameter)) yield [prefix + name, value];
    }
    for (const [name, child] of this.namedChildren()) yield* child.namedBuffers(`${prefix}${name}.`);
  }

  /** Direct children by their names. */
  *namedChildren(): Generator<readonly [string, Module]> {
    for (const [name, value] of Object.entries(this)) if (value instanceof Module) yield [name, value];
  }

  /** Itself (named '') and every module below. */
  *namedModules(prefix = ''): Generator<readonly [string, Module]> {
    yield [prefix, this];
    for (const [name, child] of this.namedChildren()) {
      yield* child.namedModules(prefix === '' ? name : `${prefix}.${name}`);
    }
  }

  /** The live parameters and buffers by name. */
  stateDict(prefix = ''): Map<string, Tensor> {
    const entries = new Map<string, Tensor>();
    for (const [name, value] of Object.entries(this))
      if (value instanceof Parameter) entries.set(prefix + name, value);
    for (const [name, value] of Object.entries(this)) {
      if (value instanceof Tensor && !(value instanceof Parameter)) entries.set(prefix + name, value);
    }
    for (const [name, child] of this.namedChildren()) {
      for (const [key, value] of child.stateDict(`${prefix}${name}.`)) entries.set(key, value);
    }
    return entries;
  }

  /**
   * Copies a state into the parameters and buffers, converting dtype and device.
   *
   * @param options - With `strict` false, missing and unexpected names are returned instead of thrown.
   * @throws CheckpointError that names every missing, unexpected and wrongly shaped entry; nothing is changed in that case.
   */
  loadStateDict(
    state: ReadonlyMap<string, Tensor>,
    options: { strict?: boolean } = {},
  ): { missing: string[]; unexpected: string[] } {
    const own = this.stateDict();
    const missing = [...own.keys()].filter((name) => !state.has(name));
    const unexpected = [...state.keys()].filter((name) => !own.has(name));
    const problems: string[] = [];
    if (options.strict !== false) {
      problems.push(
        ...missing.map((name) => `missing: ${name}`),
        ...unexpected.map((name) => `unexpected: ${name}`),
      );
    }
    for (const [name, tensor] of own) {
      const given = state.get(name);
      if (given !== undefined && given.shape.join() !== tensor.shape.join()) {
        problems.push(
          `shape of ${name}: expected [${tensor.shape.join(', ')}], got [${given.shape.join(', ')}]`,
        );
      }
    }
    if (problems.length > 0) {
      throw new CheckpointError(
        `The weights don't fit ${this.constructor.name}:\n  ${problems.join('\n  ')}`,
      );
    }
    noGrad(() => {
      for (const [name, tensor] of own) {
        const given = state.get(name);
        if (given !== undefined) tensor.copy_(given);
      }
    });
    return { missing, unexpected };
  }

  /** Sets training mode, for this module and all below. */
  train(mode = true): this {
    this.training = mode;
    for (const [, child] of this.namedChildren()) child.train(mode);
    return this;
  }

  /** Evaluation mode: no dropout, batch norms use their running statistics. */
  eval(): this {
    return this.train(false);
  }

  /**
   * Moves everything to a device, or converts floating-point parameters and buffers to a floating-point dtype. What changes
   * becomes a new object without a gradient: build optimizers afterwards.
   */
  to(target: DType | (string & {})): this {
    const isDType = Object.hasOwn(elementSize, target);
    scope(() => {
      for (const [, module] of this.namedModules()) {
        for (const [name, value] of Object.entries(module)) {
          if (!(value instanceof Tensor) || (isDType && !/^b?float/.test(value.dtype))) continue;
          const moved = value.detach().to(target);
          if (moved.device === value.device && moved.dtype === value.dtype) continue;
          const kept = value instanceof Parameter ? new Parameter(moved, value.requiresGrad) : moved.keep();
          (module as unknown as Record<string, Tensor>)[name] = kept;
          value.dispose();
        }
      }
    });
    return this;
  }

  /** Frees all parameters and buffers. */
  dispose(): void {
    for (const tensor of this.stateDict().values()) tensor.dispose();
  }
}

/** Modules in a list, named by their index. */
export class ModuleList<M extends Module> extends Module implements Iterable<M> {
  readonly #modules: readonly M[];

  constructor(modules: readonly M[]) {
    super();
    this.#modules = modules;
  }

  override *namedChildren(): Generator<readonly [string, Module]> {
    for (const [i, module] of this.#modules.entries()) yield [String(i), module];
  }

  [Symbol.iterator](): Iterator<M> {
    return this.#modules[Symbol.iterator]();
  }

  get length(): number {
    return this.#modules.length;
  }

  at(index: number): M | undefined {
    return this.#modules.at(index);
  }
}

/** A module that maps one tensor to one. */
export abstract class Layer extends Module {
  abstract forward(x: Tensor): Tensor;
}

/** Layers in sequence. */
export class Sequential extends Layer {
  readonly #layers: readonly Layer[];

  constructor(layers: readonly Layer[]) {
    super();
    this.#layers = layers;
  }

  override *namedChildren(): Generator<readonly [string, Module]> {
    for (const [i, layer] of this.#layers.entries()) yield [String(i), layer];
  }

  override forward(x: Tensor): Tensor {
    return this.#layers.reduce((value, layer) => layer.forward(value), x);
  }
}

/** Returns its input. */
export class Identity extends Layer {
  override forward(x: Tensor): Tensor {
    return x;
  }
}
