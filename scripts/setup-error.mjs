/** A problem with the machine, the network or the settings, not with these scripts: shown without a stack trace. */
export class SetupError extends Error {}

/** What the system's error codes mean for somebody who writes into a folder. */
const REASONS = {
  EACCES: 'this user may not write there',
  EPERM: 'this user may not write there',
  EROFS: 'it is on a file system that is mounted read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: "the user's quota is used up",
  ENOTDIR: 'a part of its path is a file',
  EEXIST: 'a file has its name',
};

/** A system error of writing into a folder as a SetupError that says what to do; any other error as it is. */
export function explainWriting(error, folder, advice) {
  const reason = REASONS[error?.code];
  if (reason === undefined) return error;
  return new SetupError(`${folder} can't be written: ${reason} (${error.code}). ${advice}`, { cause: error });
}
