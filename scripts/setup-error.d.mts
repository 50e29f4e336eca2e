/** A problem with the machine, the network or the settings, not with these scripts. */
export class SetupError extends Error {}
export function explainWriting(error: unknown, folder: string, advice: string): unknown;
