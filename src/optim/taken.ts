/**
 * Changes that are taken back where a step turns out not to be finite, decided on the device: the host would have to wait for
 * the answer. `taken` is () float32, 1 or 0.
 */
import { ops, scope, type Tensor } from '../torch/index.js';

/** What libtorch's fused optimizers take as found_inf: 1 where nothing is to be changed; null where that isn't asked. */
export const foundInf = (taken: Tensor | undefined): Tensor | null =>
  taken === undefined ? null : taken.neg().add(1);

/** Gives tensors their values of before again where `taken` is 0. */
export function takeBack(taken: Tensor, tensors: readonly Tensor[], before: readonly Tensor[]): void {
  if (tensors.length === 0) return;
  const isTaken = taken.ne(0);
  ops._foreachCopy_(
    tensors,
    tensors.map((tensor, i) => ops.where(isTaken, tensor, before[i] as Tensor)),
  );
}

/** Runs `fn`, which changes `tensors`, so that they are as before where `taken` is 0. */
export function onlyIfTaken(taken: Tensor | undefined, tensors: readonly Tensor[], fn: () => void): void {
  if (taken === undefined) return fn();
  scope(() => {
    const before = tensors.map((tensor) => tensor.clone());
    fn();
    takeBack(taken, tensors, before);
  });
}
