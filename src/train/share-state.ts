/**
 * Sends rank 0's training state to all: only rank 0 reads weights and checkpoints, so no other machine needs the files.
 */
import { createHash } from 'node:crypto';
import type { TrainingState } from '../dino/index.js';
import { ProcessError } from '../errors.js';
import { empty, noGrad, scope, tensor as tensorOf, type Tensor } from '../torch/index.js';
import type { World } from '../processes/world.js';

/** A checksum over all bits of the tensors. */
function digest(tensors: readonly Tensor[]): string {
  const hash = createHash('sha256');
  for (const tensor of tensors) {
    scope(() => {
      const values = tensor.detach().to('cpu').contiguous().view([-1]).view('uint8').toTypedArray();
      hash.update(values as Uint8Array);
    });
  }
  return hash.digest('hex');
}

/**
 * Gives all processes rank 0's networks, optimizer, centre and step, and checks that they are the same. Collective.
 *
 * @returns Rank 0's step.
 * @throws ProcessError that names the processes whose weights differ afterwards.
 */
export async function shareState(world: World, state: TrainingState, step: number): Promise<number> {
  const { group } = world;
  if (group === null) return step;
  const { student, teacher, optimizer, loss, scaler, lowRank } = state;
  const own = optimizer.stateDict();
  const plan = await world.shared('its state', () => ({
    step,
    scaler: [...scaler.getState().toArray()],
    optimizer: [...own].map(([name, { shape, dtype }]) => ({ name, shape: [...shape], dtype })),
  }));
  // the optimizer's state is created at a parameter's first step: the other ranks may not have it yet
  const optimizerState = new Map(
    plan.optimizer.map(({ name, shape, dtype }): [string, Tensor] => [
      name,
      own.get(name) ?? empty(shape, { dtype, device: state.device }),
    ]),
  );
  const updates = [...(lowRank?.stateDict().values() ?? [])];
  const networks = [...student.stateDict().values(), ...teacher.stateDict().values(), ...updates];
  const tensors = [...networks, loss.center, ...optimizerState.values()];
  const byType = new Map<string, Tensor[]>();
  for (const tensor of tensors)
    byType.set(tensor.dtype, [...(byType.get(tensor.dtype) ?? []), tensor.detach()]);
  for (const list of byType.values()) {
    await group.broadcast(list);
    for (const view of list) view.dispose();
  }
  if (!world.isFirst) {
    noGrad(() => optimizer.loadStateDict(optimizerState));
    for (const [name, tensor] of optimizerState) if (!own.has(name)) tensor.dispose();
    scope(() => scaler.setState(tensorOf(plan.scaler, { dtype: 'float64' })));
  }
  const digests = await world.gather(digest([...networks, loss.center]));
  const different = digests.flatMap((value, rank) => (value === digests[0] ? [] : [rank]));
  if (different.length > 0) {
    throw new ProcessError(
      `internal: the weights of rank ${different.join(', ')} differ from rank 0's after they were sent`,
    );
  }
  return plan.step;
}
