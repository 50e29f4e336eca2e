/** Ends of a command that are not failures to report. Small, because `dino --help` loads it. */

/** Ctrl-C, or a signal like it, ended the command in good order; exit code 130. */
export class Interrupted extends Error {}

/** What is wrong has been printed already, by the command or by one of its processes; only the exit code is left. */
export class Reported extends Error {
  constructor(readonly exitCode: number) {
    super('what is wrong has been printed already');
  }
}
