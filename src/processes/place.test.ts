import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError } from '../errors.js';
import { expandNodeList, placeFromEnvironment, tasksOnNode } from './place.js';

test('torchrun, with its own store and restarts', () => {
  const place = placeFromEnvironment({
    ...{
      RANK: '3',
      WORLD_SIZE: '4',
      LOCAL_RANK: '1',
      LOCAL_WORLD_SIZE: '2',
      MASTER_ADDR: 'a',
      MASTER_PORT: '1234',
    },
    ...{ TORCHELASTIC_RUN_ID: 'x', TORCHELASTIC_USE_AGENT_STORE: 'True', TORCHELASTIC_RESTART_COUNT: '2' },
  });
  assert.deepEqual(place, {
    ...{ launcher: 'torchrun', rank: 3, size: 4, localRank: 1, localSize: 2 },
    ...{ host: 'a', port: 1234, agentStore: true, attempt: 2 },
  });
});

test("Kubeflow's PyTorchJob: one process per pod", () => {
  const place = placeFromEnvironment({
    ...{ RANK: '1', WORLD_SIZE: '2', MASTER_ADDR: 'job-master-0', MASTER_PORT: '23456', PET_NNODES: '2' },
  });
  assert.deepEqual(
    { ...place },
    {
      ...{ launcher: 'environment', rank: 1, size: 2, localRank: 0, localSize: 1 },
      ...{ host: 'job-master-0', port: 23456, agentStore: false, attempt: 0 },
    },
  );
});

test('srun: the first node is the master, and each job has its own port', () => {
  const env = {
    ...{
      SLURM_PROCID: '5',
      SLURM_STEP_NUM_TASKS: '8',
      SLURM_LOCALID: '1',
      SLURM_NODEID: '2',
      SLURM_NTASKS: '8',
    },
    ...{ SLURM_STEP_NODELIST: 'gpu[03-05,11]', SLURM_STEP_TASKS_PER_NODE: '2(x4)', SLURM_JOB_ID: '70007' },
    ...{ SLURM_STEP_ID: '0', SLURM_RESTART_COUNT: '1' },
  };
  assert.deepEqual(placeFromEnvironment(env), {
    ...{ launcher: 'slurm', rank: 5, size: 8, localRank: 1, localSize: 2 },
    ...{ host: 'gpu03', port: 20_007, agentStore: false, attempt: 1 },
  });
  // in a batch script without srun there is one process
  assert.equal(placeFromEnvironment({ ...env, SLURM_STEP_NUM_TASKS: undefined }), null);
});

test('mpirun of Open MPI and of MPICH, on one machine without MASTER_ADDR', () => {
  const openmpi = placeFromEnvironment({
    ...{ OMPI_COMM_WORLD_RANK: '1', OMPI_COMM_WORLD_SIZE: '2' },
    ...{ OMPI_COMM_WORLD_LOCAL_RANK: '1', OMPI_COMM_WORLD_LOCAL_SIZE: '2' },
  });
  assert.deepEqual(
    [openmpi?.launcher, openmpi?.rank, openmpi?.host, openmpi?.port],
    ['openmpi', 1, '127.0.0.1', 29500],
  );
  const mpich = placeFromEnvironment({
    ...{ PMI_RANK: '0', PMI_SIZE: '4', MPI_LOCALRANKID: '0', MPI_LOCALNRANKS: '2', MASTER_ADDR: 'n1' },
  });
  assert.deepEqual([mpich?.launcher, mpich?.size, mpich?.localSize, mpich?.host], ['pmi', 4, 2, 'n1']);
});

test('a process on its own has no place', () => {
  assert.equal(placeFromEnvironment({ PATH: '/bin', SLURM_NTASKS: '4' }), null);
});

test('everything that is missing or wrong is named at once', () => {
  assert.throws(
    () => placeFromEnvironment({ RANK: '4', WORLD_SIZE: '4', MASTER_PORT: 'http' }),
    (error: unknown) =>
      error instanceof ConfigError &&
      error.problems.length === 3 &&
      /MASTER_PORT is http/.test(error.message) &&
      /RANK is 4.*0 to 3/.test(error.message) &&
      /MASTER_ADDR is missing/.test(error.message),
  );
});

test("Slurm's lists", () => {
  const names = (list: string) => [...expandNodeList(list)].join(' ');
  assert.equal(names('a1'), 'a1');
  assert.equal(names('n[09-11],login,x[1,3-4]-ib'), 'n09 n10 n11 login x1-ib x3-ib x4-ib');
  assert.equal(
    names('rack[1-2]node[01-03,07],r[9-10]c[1]b[0-1].site,login'),
    'rack1node01 rack1node02 rack1node03 rack1node07 rack2node01 rack2node02 rack2node03 rack2node07 ' +
      'r9c1b0.site r9c1b1.site r10c1b0.site r10c1b1.site login',
  );
  for (const list of ['gpu[01-', 'gpu01]', 'a,,b', 'a[1-[2]]', 'a[b-c]', ','])
    assert.throws(() => names(list), ConfigError, list);
  const place = placeFromEnvironment({
    ...{ SLURM_PROCID: '5', SLURM_STEP_NUM_TASKS: '8', SLURM_STEP_NODELIST: 'rack[1-2]node[01-04]' },
    ...{ SLURM_STEP_TASKS_PER_NODE: '1(x8)', SLURM_LOCALID: '0', SLURM_NODEID: '5' },
  });
  assert.equal(place?.host, 'rack1node01');
  // only the first name is made
  assert.equal(expandNodeList('n[1-999999999]m[1-999999999]').next().value, 'n1m1');
  assert.deepEqual(
    [0, 2, 3].map((node) => tasksOnNode('2(x3),1', node)),
    [2, 2, 1],
  );
});
