/**
 * What frees a tensor: the scope() in which it was made, unless it is returned or kept; `using` or dispose(); and, as a
 * fallback, the garbage collector, to which a handle's memory is reported.
 */
import { TensorOwner } from './handle-owner.js';

const scopes: Set<TensorOwner>[] = [];

/** Called by Tensor's constructor. @internal */
export function track(tensor: TensorOwner): void {
  scopes.at(-1)?.add(tensor);
}

/** Takes a tensor out of the scope that would free it. @internal */
export function untrack(tensor: TensorOwner): void {
  for (const scope of scopes) scope.delete(tensor);
}

/**
 * Runs `fn` and frees every tensor made in it, except those that it returns (directly, or in arrays, plain objects, maps
 * and sets) and those on which keep() was called. Returned tensors belong to the enclosing scope, if there is one. A scope
 * is synchronous: a promise is refused, because tensors made by other code in the meantime would be freed with it.
 *
 * @example
 * const loss = scope(() => model.forward(x).pow(2).mean());
 */
export function scope<T>(fn: () => T): T {
  const made = new Set<TensorOwner>();
  scopes.push(made);
  let result: T;
  try {
    result = fn();
    if (result instanceof Promise) {
      throw new TypeError('scope(): expected a synchronous function, got one that returns a promise');
    }
  } catch (error) {
    scopes.pop();
    for (const tensor of made) tensor.dispose();
    throw error;
  }
  scopes.pop();
  const outer = scopes.at(-1);
  visit(result, (value) => {
    if (made.delete(value)) outer?.add(value);
  });
  for (const tensor of made) tensor.dispose();
  return result;
}

function visit(value: unknown, found: (tensor: TensorOwner) => void): void {
  if (typeof value !== 'object' || value === null) return;
  if (value instanceof TensorOwner) found(value);
  else if (Array.isArray(value) || value instanceof Set) for (const entry of value) visit(entry, found);
  else if (value instanceof Map) for (const entry of value.values()) visit(entry, found);
  else if (Object.getPrototypeOf(value) === Object.prototype) {
    for (const entry of Object.values(value)) visit(entry, found);
  }
}
