/** Which of a few alternatives is fastest, measured by turns: the best time of each counts, as others on the machine only add. */

/** Times of each alternative, at most... */
const ROUNDS = 3;
/** ...and while the fastest two are this close, a share of the fastest: on a busy machine three don't tell them apart. */
const CLOSE = 0.1;
const MORE_ROUNDS = 8;

export class Race<Name extends string> {
  /** Within this share of the fastest an earlier alternative is preferred: less is noise. */
  static readonly NEAR = 0.03;
  readonly #best: Map<Name, number>;

  /** @param names - At least one; the preferred ones first. */
  constructor(names: readonly Name[]) {
    this.#best = new Map(names.map((name) => [name, Infinity]));
  }

  add(name: Name, seconds: number): void {
    this.#best.set(name, Math.min(this.seconds(name), seconds));
  }

  /** The best time of an alternative; Infinity before the first. */
  seconds(name: Name): number {
    return this.#best.get(name) ?? Infinity;
  }

  /** How many rounds are worth making, by what is known now: 3, or 8 while the two fastest are close. */
  get rounds(): number {
    const [first = 0, second = Infinity] = [...this.#best.values()].sort((a, b) => a - b);
    return second < (1 + CLOSE) * first ? MORE_ROUNDS : ROUNDS;
  }

  /** The first alternative whose time is within 3% of the least. @throws RangeError without any. */
  get winner(): Name {
    const least = Math.min(...this.#best.values());
    for (const [name, seconds] of this.#best) if (seconds <= (1 + Race.NEAR) * least) return name;
    throw new RangeError('a race without alternatives');
  }

  /** Whether no other is faster than the winner. */
  get isFastest(): boolean {
    return this.seconds(this.winner) === Math.min(...this.#best.values());
  }
}
