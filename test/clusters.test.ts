/** The scripts and manifests of examples/clusters, and the commands of docs/clusters.md, name flags that there are. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { readLine } from '#built/cli/command.js';
import { pick } from '#built/cli/flags.js';
import { command as slurm } from '#built/cli/train/slurm.js';
import { command as train } from '#built/cli/train/train.js';
import { SETTING_NAMES } from '#built/run/settings.js';
import { readOverrides } from '#built/train/config.js';
import { packageRoot } from '#scripts/find-libtorch.mjs';

const folder = path.join(packageRoot, 'examples', 'clusters');
const read = (...parts: string[]): string => readFileSync(path.join(packageRoot, ...parts), 'utf8');

/** Words of a shell command; quotes are taken off, variables stay. */
const words = (command: string): string[] =>
  [...command.matchAll(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g)].map(([word]) => word.replaceAll(/["']/g, ''));

/** Commands of `dino` in a text of bash: lines continued by backslashes are one. */
const commands = (text: string, name: string): string[][] =>
  text
    .replaceAll(/\\\n\s*/g, ' ')
    .split('\n')
    .filter((line) => !line.trimStart().startsWith('#'))
    .flatMap((line) => {
      const at = line.search(new RegExp(`\\bdino ${name} (?!\`)`));
      return at === -1 ? [] : [words(line.slice(at)).slice(2)];
    });

/** Reads a command line as the command would, settings included. */
async function checkTrain(words: readonly string[]): Promise<void> {
  const { options, problems, args } = await readLine(train, 'dino train', words);
  assert.deepEqual(problems, []);
  assert.ok(args.images !== undefined);
  assert.equal(options.resume ?? 'auto', 'auto');
  readOverrides({ flags: pick(options, ...SETTING_NAMES) });
}

test('the scripts are bash, and start a training that dino knows', async () => {
  const scripts = readdirSync(folder).filter((name) => /\.(sh|sbatch)$/.test(name));
  assert.equal(scripts.length, 3);
  for (const name of scripts) {
    const text = read('examples', 'clusters', name);
    const { status, stderr } = spawnSync('bash', ['-n'], { input: text, encoding: 'utf8' });
    assert.equal(status, 0, `${name}: ${stderr}`);
    const found = commands(text, 'train');
    assert.equal(found.length, 1, name);
    for (const args of found) await checkTrain(args);
  }
});

interface Replica {
  replicas: number;
  restartPolicy: string;
  template: {
    spec: {
      terminationGracePeriodSeconds: number;
      containers: { name: string; command: string[]; args: string[]; volumeMounts: { name: string }[] }[];
      volumes: { name: string }[];
    };
  };
}

test('the manifests are PyTorchJobs whose pods start a training that dino knows', async () => {
  const manifests = readdirSync(folder).filter((name) => name.endsWith('.yaml'));
  assert.equal(manifests.length, 2);
  for (const name of manifests) {
    const job = parse(read('examples', 'clusters', name)) as {
      apiVersion: string;
      kind: string;
      spec: { pytorchReplicaSpecs: Record<string, Replica> };
    };
    assert.deepEqual([job.apiVersion, job.kind], ['kubeflow.org/v1', 'PyTorchJob']);
    const replicas = job.spec.pytorchReplicaSpecs;
    assert.deepEqual(Object.keys(replicas), ['Master', 'Worker']);
    assert.equal(replicas['Master']?.replicas, 1, 'the operator takes one master');
    for (const { restartPolicy, template } of Object.values(replicas)) {
      assert.equal(restartPolicy, 'OnFailure');
      assert.ok(template.spec.terminationGracePeriodSeconds >= 60, 'time for a checkpoint');
      const [container] = template.spec.containers;
      assert.equal(container?.name, 'pytorch', 'the name that the operator looks for');
      const volumes = template.spec.volumes.map((volume) => volume.name);
      for (const mount of container?.volumeMounts ?? []) assert.ok(volumes.includes(mount.name), mount.name);
      const line = [...(container?.command ?? []), ...(container?.args ?? [])];
      const found = line[0] === 'dino' ? [line.slice(2)] : commands(line.join('\n'), 'train');
      assert.equal(found.length, 1, name);
      for (const args of found) await checkTrain(args);
    }
  }
});

test('docs/clusters.md names files that are there, and commands that dino knows', async () => {
  const text = read('docs', 'clusters.md');
  const linked = [...text.matchAll(/\]\(\.\.\/(examples\/[^)]+)\)/g)].map(([, file]) => file!);
  assert.ok(linked.length >= 6);
  for (const file of linked) assert.ok(existsSync(path.join(packageRoot, file)), file);
  const blocks = [...text.matchAll(/```sh\n([^`]*)```/g)].map(([, block]) => block!).join('\n');
  const found = commands(blocks, 'slurm');
  assert.ok(found.length >= 1);
  for (const args of found) {
    const line = await readLine(slurm, 'dino slurm', args);
    assert.deepEqual(line.problems, []);
    await checkTrain(line.args.train ?? []);
  }
});
