/**
 * Watches for the two ways in which self-distillation collapses (paper, section 5.3 and figure 7): every output uniform,
 * or one output always dominating. Both show in the teacher's targets: their entropy goes to ln K or to 0, and their
 * divergence from the batch's mean goes to 0, since every image then gets the same answer.
 */
export interface TeacherStatistics {
  /** Mean entropy of the targets, nats: 0 to ln K. */
  entropy: number;
  /** Mean KL divergence of the targets from their batch mean, nats: how much an answer depends on the image. */
  kl: number;
  /** L2 norm of the centre. */
  centerNorm: number;
}

export type Collapse = 'uniform' | 'constant';

export interface CollapseWarning {
  kind: Collapse;
  /** What was seen and what to try, in plain words. */
  message: string;
}

/** A loss or an entropy within this fraction of ln K counts as uniform; an entropy that close to 0 counts as constant. */
const MARGIN = 0.02;

/** How a training stands, in a sentence. */
export interface Verdict {
  /** `early`: a collapsed state that has not lasted; every training begins in one. */
  kind: 'unknown' | 'healthy' | 'early' | Collapse;
  message: string;
}

export interface CollapseMonitorOptions {
  /** K. */
  outDim: number;
  /** Steps that a collapsed state must last before a warning: every training starts at ln K. */
  patience: number;
}

/** The patience of a training: an epoch, and at least 100 steps. */
export const monitorPatience = (stepsPerEpoch: number): number => Math.max(100, stepsPerEpoch);

export class CollapseMonitor {
  readonly #maxEntropy: number;
  readonly #patience: number;
  #state: Collapse | null = null;
  #since = 0;
  #warned: Collapse | null = null;
  #last: { step: number; loss: number; entropy: number; kl: number } | null = null;

  constructor({ outDim, patience }: CollapseMonitorOptions) {
    this.#maxEntropy = Math.log(outDim);
    this.#patience = patience;
  }

  /** @returns A warning once a collapsed state has lasted for `patience` steps, else null. A recovery re-arms it. */
  observe(
    step: number,
    loss: number,
    { entropy, kl }: Pick<TeacherStatistics, 'entropy' | 'kl'> & Partial<TeacherStatistics>,
  ): CollapseWarning | null {
    this.#last = { step, loss, entropy, kl };
    const state = this.#classify(loss, entropy, kl);
    if (state !== this.#state) {
      this.#state = state;
      this.#since = step;
      if (state === null) this.#warned = null;
    }
    if (state === null || state === this.#warned || step - this.#since < this.#patience) return null;
    this.#warned = state;
    return { kind: state, message: advice(state, step - this.#since, loss, entropy, kl, this.#maxEntropy) };
  }

  /** How the training stands after the last observed step. */
  verdict(): Verdict {
    const [last, kind] = [this.#last, this.#state];
    const lnK = this.#maxEntropy;
    if (last === null) return { kind: 'unknown', message: 'Too early to say: no step is done yet.' };
    const { step, loss, entropy, kl } = last;
    if (kind === null) {
      return {
        kind: 'healthy',
        message:
          `Healthy: the teacher's answer depends on the image (KL to the batch mean ${kl.toFixed(3)} nats), and its ` +
          `entropy, ${entropy.toFixed(2)}, is between 0 and ln K = ${lnK.toFixed(2)}.`,
      };
    }
    const steps = step - this.#since;
    if (steps >= this.#patience) return { kind, message: advice(kind, steps, loss, entropy, kl, lnK) };
    return {
      kind: 'early',
      message:
        `Too early to tell: the teacher still gives every image the same ${kind === 'uniform' ? 'flat' : 'single'} answer ` +
        `(KL to the batch mean ${kl.toFixed(4)}, entropy ${entropy.toFixed(2)}, ln K ${lnK.toFixed(2)}), as in every ` +
        `training at first. If it lasts ${this.#patience - steps} more steps, it has collapsed.`,
    };
  }

  #classify(loss: number, entropy: number, kl: number): Collapse | null {
    const near = MARGIN * this.#maxEntropy;
    if (kl > near) return null; // answers differ from image to image
    if (entropy < near) return 'constant';
    if (this.#maxEntropy - entropy < near || Math.abs(loss - this.#maxEntropy) < near) return 'uniform';
    return null;
  }
}

function advice(
  kind: Collapse,
  steps: number,
  loss: number,
  entropy: number,
  kl: number,
  maxEntropy: number,
): string {
  const seen =
    `for ${steps} steps (loss ${loss.toFixed(3)}, teacher entropy ${entropy.toFixed(3)}, ` +
    `KL to the batch mean ${kl.toFixed(4)}, ln K ${maxEntropy.toFixed(3)})`;
  return kind === 'uniform'
    ? `The teacher gives every image the same flat answer ${seen}: the loss is stuck at ln K and nothing is learnt. ` +
        'Try, in this order: a lower teacher temperature (--teacher-temp and --warmup-teacher-temp, 0.02 on small ' +
        'data), a smaller --out-dim, a lower --momentum-teacher (0.99 for short trainings), more warm-up epochs.'
    : `The teacher gives every image the same single output ${seen}: one dimension dominates. ` +
        'Try, in this order: a higher teacher temperature (--teacher-temp, up to 0.07, with warm-up epochs), a lower ' +
        '--lr, a smaller --clip-grad (0.3), a higher --momentum-teacher, --norm-last-layer true.';
}
