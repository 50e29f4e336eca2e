/** What a command prints: results to stdout, everything on the way to stderr. */
import { messageText, terminalText } from '../plain/printable.js';

export class Output {
  readonly #endings: (() => void)[] = [];

  /** @param isSilent - Prints nothing: only one of several processes does. */
  constructor(
    readonly json: boolean,
    readonly isSilent = false,
  ) {}

  /** Registers what to do when the command is over, however it ended: a bar that is still drawn would keep it running. */
  atEnd(ending: () => void): void {
    this.#endings.push(ending);
  }
  /** Called once, by the owner of this object. */
  end(): void {
    for (const ending of this.#endings.splice(0)) ending();
  }

  /** A line about what is happening. */
  note(line: string): void {
    if (!this.isSilent) process.stderr.write(`${messageText(line)}\n`);
  }
  warn(line: string): void {
    this.note(`warning: ${line}`);
  }
  /** Warns of what the lists of images leave out, as results of commands carry it. */
  warnOfLists({ remarks }: { remarks: readonly string[] }): void {
    for (const remark of remarks) this.warn(remark);
  }
  /** The command's result: the object with --json, the text without. */
  result(value: unknown, text: string): void {
    if (this.isSilent) return;
    // JSON escapes control characters already, except those of C1
    const printed = terminalText(this.json ? JSON.stringify(value) : text);
    process.stdout.write(printed.endsWith('\n') ? printed : `${printed}\n`);
  }
}
