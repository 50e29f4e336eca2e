/**
 * For tests: one of two processes, of which rank 1 kills itself before its part of the work:
 * `node survivor.js <store file or port> <rank> <work>`. Rank 0 prints what it caught, as JSON.
 */
import {
  GradientReducer,
  noGrad,
  Parameter,
  ProcessGroup,
  setNumThreads,
  Store,
  syncBatchNorm,
  tensor,
  type Tensor,
} from '../torch/index.js';

/** Both do the part before `die`; rank 0 then continues without rank 1. */
type Work = (group: ProcessGroup, die: () => void) => void | Promise<void>;

const values = (): Tensor => tensor([1, 2, 3, 4]).view([4, 1]);
const normed = (group: ProcessGroup, x: Tensor): Tensor => {
  const options = { runningMean: null, runningVar: null, momentum: 0.1, eps: 1e-5 };
  return syncBatchNorm(group, x, tensor([1]), tensor([0]), options);
};
const reduced = (group: ProcessGroup): [Parameter, GradientReducer] => {
  const parameter = new Parameter(tensor([1, 2]));
  return [parameter, new GradientReducer([parameter], group)];
};

const works: Readonly<Record<string, Work>> = {
  'all-reduce': async (group, die) => {
    die();
    await group.allReduce(tensor([1]));
  },
  'all-reduce that blocks': (group, die) => {
    die();
    group.allReduceSync(tensor([1]));
  },
  'all-gather': async (group, die) => {
    die();
    await group.allGather(tensor([1]));
  },
  broadcast: async (group, die) => {
    die();
    await group.broadcast([tensor([1])], 1);
  },
  barrier: async (group, die) => {
    die();
    await group.barrier();
  },
  'the backward pass, in the reducer': (group, die) => {
    const [parameter, reducer] = reduced(group);
    reducer.prepare();
    const loss = parameter.mul(2).sum();
    die();
    loss.backward();
    reducer.finish();
  },
  'a requested gradient, in the reducer': (group, die) => {
    const [parameter, reducer] = reduced(group);
    parameter.mul(2).sum().backward();
    die();
    reducer.finish();
  },
  'the forward pass, in batch normalisation': (group, die) => {
    die();
    normed(group, values());
  },
  'the backward pass, in batch normalisation': (group, die) => {
    const x = values();
    x.requiresGrad = true;
    const y = normed(group, x).square().sum();
    die();
    y.backward();
  },
  'the forward pass without gradients, in batch normalisation': (group, die) => {
    die();
    noGrad(() => normed(group, values()));
  },
};

const [file = '', rankText = '0', name = ''] = process.argv.slice(2);
const rank = Number(rankText);
setNumThreads(1);
const store = Store.file(file, 2);
const group = await ProcessGroup.connect(store, { rank, size: 2, address: '127.0.0.1', timeoutMs: 20_000 });
await group.barrier();
let caught: unknown;
try {
  await works[name]?.(group, () => {
    if (rank === 1) process.kill(process.pid, 'SIGKILL');
  });
} catch (error) {
  caught = error;
}
const { constructor, message, cause } = caught as Error;
process.stdout.write(
  JSON.stringify({ kind: constructor.name, message, cause: (cause as Error | undefined)?.message ?? null }),
  () => process.kill(process.pid, 'SIGKILL'), // its threads may be waiting for the lost one
);
