/** Types of native/torch's process groups: process-group.cc, reducer.cc, sync-batch-norm.cc. */
import type { NativeHandle, TensorHandle } from './handles.js';

export type StoreHandle = NativeHandle<'store'>;
export type GroupHandle = NativeHandle<'process group'>;
export type WorkHandle = NativeHandle<'work'>;
export type ReducerHandle = NativeHandle<'reducer'>;
export type HeartbeatHandle = NativeHandle<'heartbeat'>;

/** Times are in milliseconds. A separate thread settles each promise. */
export interface NativeDistributed {
  tcpStore(
    host: string,
    port: number,
    isServer: boolean,
    timeout: number,
    isLocal: boolean,
  ): Promise<StoreHandle>;
  fileStore(path: string, processes: number): StoreHandle;
  prefixStore(prefix: string, store: StoreHandle): StoreHandle;
  storeSet(store: StoreHandle, key: string, value: string): Promise<void>;
  storeGet(store: StoreHandle, key: string, timeout: number): Promise<string>;
  storeAdd(store: StoreHandle, key: string, amount: number): Promise<number>;
  storeCheck(store: StoreHandle, keys: readonly string[]): Promise<boolean[]>;
  closeStore(store: StoreHandle): void;
  startHeartbeat(
    store: StoreHandle,
    key: string,
    step: number,
    interval: number,
    newsKey: string,
  ): HeartbeatHandle;
  heartbeatNews(heartbeat: HeartbeatHandle): string | null;
  setHeartbeatStep(heartbeat: HeartbeatHandle, step: number): void;
  stopHeartbeat(heartbeat: HeartbeatHandle): void;
  createGroup(
    store: StoreHandle,
    rank: number,
    size: number,
    address: string,
    timeout: number,
    withNccl: boolean,
  ): Promise<GroupHandle>;
  closeGroup(group: GroupHandle): void;
  allReduce(group: GroupHandle, tensor: TensorHandle): WorkHandle;
  allGather(group: GroupHandle, outputs: readonly TensorHandle[], input: TensorHandle): WorkHandle;
  broadcast(group: GroupHandle, tensors: readonly TensorHandle[], root: number): Promise<void>;
  barrier(group: GroupHandle): WorkHandle;
  /** Blocks this thread. */
  waitWork(work: WorkHandle): void;
  workDone(work: WorkHandle): Promise<void>;
  exitNow(code: number): void;
  createReducer(parameters: readonly TensorHandle[], group: GroupHandle, bucketBytes: number): ReducerHandle;
  prepareReducer(reducer: ReducerHandle): void;
  finishReducer(reducer: ReducerHandle): void;
  closeReducer(reducer: ReducerHandle): void;
  syncBatchNorm(
    group: GroupHandle,
    x: TensorHandle,
    weight: TensorHandle,
    bias: TensorHandle,
    runningMean: TensorHandle | null,
    runningVar: TensorHandle | null,
    momentum: number,
    eps: number,
  ): TensorHandle;
}
