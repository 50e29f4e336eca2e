import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import type { JudgementLine } from './events.js';
import { endInWords, judgementInWords, stalledInWords } from './judge-words.js';

const IMAGES = 500;

/** A judgement in which the first images kept all five of their neighbours, and the others none. */
function judgement(step: number, share: number, judge: Partial<JudgementLine['judge']> = {}): JudgementLine {
  const count = Math.round(IMAGES * share);
  const shared = '5'.repeat(count) + '0'.repeat(IMAGES - count);
  const measures = {
    neighbours: share,
    otherView: share,
    otherViewRank: share,
    rankMe: 1,
    lidar: 1,
    alphaReq: 1,
  };
  return {
    ...{ step, epoch: 0 },
    judge: {
      ...{
        measure: 'neighbours',
        score: share,
        untrained: 0.1,
        pixels: 0.2,
        measures,
        images: IMAGES,
        shared,
      },
      ...{ isBest: false, bestStep: 0, stalled: false, fallsShortOf: null, ...judge },
    },
  };
}
/** One in which other images kept theirs. */
const ofOthers = (step: number, share: number): JudgementLine => {
  const line = judgement(step, share);
  return { ...line, judge: { ...line.judge, shared: [...line.judge.shared].reverse().join('') } };
};

test('a judgement is one line', () => {
  const said = (step: number, judge: Partial<JudgementLine['judge']>): string =>
    judgementInWords(judgement(step, 0.426, judge));
  const scores = '42.6% (untrained 10.0%, pixels 20.0%)';
  assert.equal(said(0, { isBest: true }), `judge before training: ${scores}, the best so far`);
  assert.equal(said(9, { bestStep: 6 }), `judge after step 9: ${scores}, best at step 6`);
  assert.equal(
    said(9, { bestStep: 0 }),
    `judge after step 9: ${scores}, no clear gain over step 0`,
    'also where the score is higher by what may be chance',
  );
});

describe('what the judge says at the end', () => {
  it('says that the given weights have become better, and where the best are', () => {
    const [first, best] = [judgement(0, 0.6), judgement(100, 0.7)];
    assert.equal(
      endInWords({ first, best, last: best, beganWithGiven: true }),
      'judge: better than the weights that you gave: 60.0% to 70.0%',
    );
    assert.equal(
      endInWords({ first, best, last: judgement(200, 0.65), beganWithGiven: true }),
      'judge: better than the weights that you gave: 60.0% to 70.0% at step 100, kept in checkpoints/best (65.0% at the end)',
    );
  });

  it('does not call better or worse what may be chance', () => {
    const first = judgement(0, 0.5);
    assert.equal(
      endInWords({ first, best: first, last: ofOthers(200, 0.49), beganWithGiven: true }),
      'judge: no better: 50.0% with the weights that you gave, 49.0% at the end, a difference that may be chance with 500 ' +
        'images; yours are kept in checkpoints/best',
    );
    assert.match(
      endInWords({ first, best: first, last: ofOthers(200, 0.49), beganWithGiven: false })!,
      /^judge: training has not made the features better: 49\.0% at the end, 50\.0% untrained, a difference that may be chance/,
    );
    assert.match(
      stalledInWords({ first, best: first, last: ofOthers(200, 0.49), beganWithGiven: true }),
      /Training has not made the features better so far; the weights that you gave are kept as the best/,
    );
  });

  it("leaves images out that can't be read any more, and does not call worse what it can't compare", () => {
    const missing = (line: JudgementLine, count: number): JudgementLine => ({
      ...line,
      judge: { ...line.judge, shared: '-'.repeat(count) + line.judge.shared.slice(count) },
    });
    const first = judgement(0, 0.6);
    const better = missing(judgement(200, 0.9), 1);
    assert.equal(
      endInWords({ first, best: better, last: better, beganWithGiven: true }),
      'judge: better than the weights that you gave: 60.0% to 90.0%',
    );
    const one = missing(judgement(200, 0.4), 1);
    assert.match(
      endInWords({ first, best: first, last: one, beganWithGiven: true })!,
      /at the end; yours are kept/,
    );
    const few = missing(judgement(200, 0.2), 450);
    assert.equal(
      endInWords({ first, best: first, last: few, beganWithGiven: true }),
      'judge: fewer than 64 images can be compared, too few to tell whether these weights are better than those that you gave ' +
        '(60.0%, 20.0% at the end); yours are kept in checkpoints/best',
    );
    // not on the disk
    for (const beganWithGiven of [false, true]) {
      const words = endInWords({
        first,
        best: first,
        last: ofOthers(200, 0.49),
        beganWithGiven,
        isKept: false,
      })!;
      assert.match(words, /could not be written to checkpoints\/best/);
      assert.doesNotMatch(words, /kept/);
    }
    for (const beganWithGiven of [false, true])
      assert.doesNotMatch(stalledInWords({ first, best: first, last: few, beganWithGiven }), /worse/);
    assert.match(
      endInWords({ first, best: first, last: few, beganWithGiven: false })!,
      /^judge: training has not made the features better: .* of which fewer than 64 images can be compared/,
    );
  });

  it('says so when training has made the features worse', () => {
    const [first, last] = [judgement(0, 0.7), judgement(200, 0.5)];
    assert.equal(
      endInWords({ first, best: first, last, beganWithGiven: true }),
      'judge: no better: 70.0% with the weights that you gave, 50.0% at the end; yours are kept in checkpoints/best',
    );
    assert.match(
      endInWords({ first, best: first, last, beganWithGiven: false })!,
      /^judge: training has only made the features worse: 50\.0% at the end, 70\.0% untrained; the first weights are kept/,
    );
    assert.match(
      stalledInWords({ first, best: first, last, beganWithGiven: false }),
      /Training has made the features worse for its whole length; the first weights are kept as the best/,
    );
  });

  it('is silent about a run whose last weights are the best, unless pixels are better', () => {
    const [first, last] = [judgement(0, 0.1), judgement(200, 0.5)];
    assert.equal(endInWords({ first, best: last, last, beganWithGiven: false }), null);
    const poor = judgement(200, 0.15, { fallsShortOf: 'pixels' });
    assert.equal(
      endInWords({ first, best: poor, last: poor, beganWithGiven: false }),
      'judge: the features are worse than raw pixels (15.0% against 20.0%): train longer, or on more images',
    );
    assert.match(
      stalledInWords({ first, best: judgement(100, 0.6), last, beganWithGiven: false }),
      /60\.0% at step 100 is still the best\. Its weights are kept as the best/,
    );
  });
});
