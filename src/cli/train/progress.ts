/**
 * Shows a training while it runs: one live line on a terminal, plain lines elsewhere. Always on stderr, so that
 * stdout stays free for the result.
 */
import cliProgress from 'cli-progress';
import { countChannels } from '../../plain/channels.js';
import { formatDuration, gibibytes } from '../../plain/units.js';
import { messageText, printable } from '../../plain/printable.js';
import type { TrainEvent } from '../../train/events.js';
import { judgementInWords } from '../../train/judge-words.js';

interface Line {
  epoch: string;
  loss: string;
  entropy: string;
  speed: string;
  wait: string;
  left: string;
}

export interface ProgressOptions {
  /** Where to draw; default stderr. */
  stream?: NodeJS.WriteStream;
  /** Milliseconds now, for the time left. */
  now?: () => number;
}

/** Feed it every event of train(); call stop() at the end, also after an error. */
export class TrainProgress {
  readonly #stream: NodeJS.WriteStream;
  readonly #now: () => number;
  readonly #bar: cliProgress.SingleBar | null;
  #isBarShown = false;
  #start = { step: 0, time: 0, total: 0, perEpoch: 1, epochs: 1 };
  /** When a run for a time ends, by #now(). */
  #deadline: number | null = null;
  /** Of the last step whose loss was read. */
  #loss = NaN;
  #lastMetrics = { entropy: '-', speed: '-', wait: '-' };

  constructor(options: ProgressOptions = {}) {
    this.#stream = options.stream ?? process.stderr;
    this.#now = options.now ?? (() => performance.now());
    this.#bar = this.#stream.isTTY
      ? new cliProgress.SingleBar({
          stream: this.#stream,
          format:
            '{bar} epoch {epoch} | step {value}/{total} | loss {loss} | entropy {entropy} | {speed} img/s | ' +
            'data wait {wait} | {left} left',
          barsize: 16,
          hideCursor: true,
          linewrap: false,
          fps: 8,
          // the command handles Ctrl-C: it must write a checkpoint first
          gracefulExit: false,
        })
      : null;
  }

  handle(event: TrainEvent): void {
    switch (event.type) {
      case 'start': {
        const { images, stepsPerEpoch, totalSteps, startStep, device, precision, parameters, settings } =
          event;
        const cache = event.decodedCache;
        this.#start = {
          step: startStep,
          time: this.#now(),
          total: totalSteps,
          perEpoch: stepsPerEpoch,
          epochs: settings.epochs,
        };
        if (event.time !== null) this.#deadline = this.#now() + 1000 * (event.time.seconds - event.time.used);
        this.#print(
          `${startStep > 0 ? `going on after step ${startStep}` : 'training'}: ${images} images, ${settings.arch} with ` +
            `${parameters < 1e6 ? `${(parameters / 1e3).toFixed(0)} k` : `${(parameters / 1e6).toFixed(1)} M`} parameters (head included) on ${device} in ${precision}, ` +
            `${totalSteps} steps` +
            (cache === null
              ? ''
              : `, room for about ${cache.images} decoded images in ${gibibytes(cache.bytes)}`),
        );
        if (this.#bar) {
          this.#bar.start(totalSteps, startStep, this.#line(startStep, NaN));
          this.#isBarShown = true;
        }
        break;
      }
      case 'step': {
        if (event.metrics) {
          this.#lastMetrics = {
            entropy: event.metrics.teacherEntropy.toFixed(2),
            speed: event.metrics.imagesPerSecond.toFixed(0),
            wait: `${event.metrics.dataWaitPercent.toFixed(0)}%`,
          };
        }
        this.#loss = event.loss ?? this.#loss;
        const line = this.#line(event.step, this.#loss);
        if (this.#bar) this.#bar.update(event.step, line);
        else if (event.metrics) {
          this.#print(
            `epoch ${line.epoch} step ${event.step}/${this.#start.total} loss ${line.loss} entropy ${line.entropy} ` +
              `kl ${event.metrics.kl.toFixed(3)} ${line.speed} img/s data wait ${line.wait} left ${line.left}`,
          );
        }
        break;
      }
      case 'length': {
        const { totalSteps, secondsLeft } = event;
        this.#start.total = totalSteps;
        this.#start.epochs = Math.ceil(totalSteps / this.#start.perEpoch);
        this.#deadline = this.#now() + 1000 * secondsLeft;
        if (this.#isBarShown) this.#bar?.setTotal(totalSteps);
        break;
      }
      case 'workers':
        this.#print(`loader workers: ${event.workers}, data wait ${event.dataWaitPercent.toFixed(1)}%`);
        break;
      case 'decoded-cache':
        this.#print(`decoded cache: ${event.images} images in ${gibibytes(event.bytes)}`);
        break;
      case 'knn': {
        const scores = (top1: Record<string, number>): string =>
          Object.entries(top1)
            .map(([k, score]) => `${k}: ${score.toFixed(1)}%`)
            .join(', ');
        const whitened = event.pca === null ? '' : `; whitened ${scores(event.pca.top1)}`;
        this.#print(`k-NN after epoch ${event.epoch + 1}: ${scores(event.top1)}${whitened}`);
        break;
      }
      case 'judge':
        this.#print(judgementInWords(event));
        break;
      case 'channels': {
        const { channels, mean, std, measured } = event;
        this.#print(
          `${countChannels(channels)} as they are: --mean ${mean.join(' ')} --std ${std.join(' ')}` +
            (measured === null ? '' : `, measured over ${measured.images} images`),
        );
        break;
      }
      case 'whitened': {
        const { images, patches, filters, of } = event;
        this.#print(
          `first layer: ${filters} of ${of} filters from ${patches} whitened patches of ${images} images`,
        );
        break;
      }
      case 'precision':
        this.#print(`--precision ${event.precision}: ${event.reason}`);
        break;
      case 'skipped':
        this.#print(`skipped ${printable(event.path)}: ${printable(event.reason)}`);
        break;
      case 'warning':
        this.#print(`warning: ${event.message}`);
        break;
      case 'checkpoint':
        if (!this.#bar) this.#print(`checkpoint ${event.folder}`);
        break;
    }
  }

  /** Prints a line without breaking the bar. */
  note(line: string): void {
    this.#print(line);
  }

  stop(): void {
    if (this.#isBarShown) this.#bar?.stop();
    this.#isBarShown = false;
  }

  #line(step: number, loss: number): Line {
    const { step: first, time, total, perEpoch, epochs } = this.#start;
    const done = step - first;
    const seconds = (this.#now() - time) / 1000;
    const epoch = Math.min(epochs, Math.ceil(Math.max(1, step) / perEpoch));
    return {
      epoch: `${epoch}/${epochs}`,
      loss: Number.isNaN(loss) ? '-' : loss.toFixed(3),
      entropy: this.#lastMetrics.entropy,
      speed: this.#lastMetrics.speed,
      wait: this.#lastMetrics.wait,
      left:
        this.#deadline !== null
          ? formatDuration((this.#deadline - this.#now()) / 1000)
          : done > 0
            ? formatDuration((seconds / done) * (total - step))
            : '?',
    };
  }

  #print(line: string): void {
    if (this.#isBarShown) {
      // clear the bar's line, print, and let the bar draw itself again below
      this.#stream.cursorTo(0);
      this.#stream.clearLine(0);
    }
    this.#stream.write(`${messageText(line)}\n`);
  }
}
