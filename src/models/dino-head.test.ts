import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { assertMatches, readFixture } from '../testing/fixtures.js';
import { hashFill, hashValues } from '../testing/hash-fill.js';
import { fromTypedArray, noGrad, Parameter, scope } from '../torch/index.js';
import { DINOHead, type DINOHeadOptions } from './dino-head.js';

interface HeadCase {
  options: DINOHeadOptions;
  stateNames: string[];
}

const fixture = readFixture<HeadCase>('head');
const weightStd = fixture.header['weightStd'] as number;
const batch = fixture.header['batch'] as number;

describe('every combination of options is the reference’s', () => {
  for (const [name, { options, stateNames }] of Object.entries(fixture.cases)) {
    test(JSON.stringify(options), () => {
      scope(() => {
        const head = hashFill(new DINOHead(options), weightStd).train();
        assert.deepEqual([...head.stateDict().keys()], stateNames);
        const shape = [batch, options.inDim];
        const input = new Parameter(fromTypedArray(hashValues('input', shape, 2), shape));
        const out = head.forward(input);
        assertMatches(fixture, `${name}/train`, out, { absolute: 1e-5 });
        out
          .mul(fromTypedArray(hashValues('grad_output', out.shape), out.shape))
          .sum()
          .backward();

        const expected = [...fixture.tensors.keys()].filter((key) => key.startsWith(`${name}/grad/`)).sort();
        const found: string[] = [];
        for (const [key, parameter] of [...head.namedParameters(), ['input', input] as const]) {
          const { grad } = parameter;
          if (grad === null) continue;
          found.push(`${name}/grad/${key}`);
          // batch norm takes its input's mean away, so that a bias before it has no gradient but rounding's
          const isNoise = options.useBn === true && isBeforeBatchNorm(key, options.nlayers ?? 3);
          const tolerance = isNoise ? { absolute: 1e-5 } : { relative: 1e-5 };
          assertMatches(fixture, `${name}/grad/${key}`, grad, tolerance);
        }
        assert.deepEqual(found.sort(), expected);

        for (const [key, buffer] of head.namedBuffers()) {
          assertMatches(fixture, `${name}/buffer/${key}`, buffer, { absolute: 1e-5 });
        }
        head.eval();
        assertMatches(
          fixture,
          `${name}/eval`,
          noGrad(() => head.forward(input)),
          { absolute: 1e-5 },
        );
        head.dispose();
      });
    });
  }
});

/** Layers come in threes (linear, batch norm, GELU) but for the last linear one. */
function isBeforeBatchNorm(key: string, nlayers: number): boolean {
  const match = /^mlp\.(\d+)\.bias$/.exec(key);
  return match !== null && Number(match[1]) % 3 === 0 && Number(match[1]) < 3 * (nlayers - 1);
}

test('without options it has the sizes of the paper, and the lengths of its last layer are fixed at 1', () => {
  const head = new DINOHead({ inDim: 16, outDim: 24 });
  assert.deepEqual(
    [...head.stateDict()].map(([name, { shape }]) => `${name} ${shape.join('x')}`),
    [
      'mlp.0.weight 2048x16',
      'mlp.0.bias 2048',
      'mlp.2.weight 2048x2048',
      'mlp.2.bias 2048',
      'mlp.4.weight 256x2048',
      'mlp.4.bias 256',
      'last_layer.weight_g 24x1',
      'last_layer.weight_v 24x256',
    ],
  );
  assert.ok(head.last_layer!.weight_g.toArray().every((length) => length === 1));
  assert.equal(head.last_layer!.weight_g.requiresGrad, false);
  assert.equal(
    new DINOHead({ inDim: 4, outDim: 4, normLastLayer: false }).last_layer!.weight_g.requiresGrad,
    true,
  );
  head.dispose();
});
