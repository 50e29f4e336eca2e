import { DataError } from '../../errors.js';

/** Why a file can't be read, in one short line without its path. */
export function readProblem(error: unknown): DataError {
  if (error instanceof DataError) return error;
  const code = (error as NodeJS.ErrnoException).code;
  const reasons: Record<string, string> = {
    ENOENT: 'no such file',
    EACCES: 'permission denied',
    EISDIR: 'is a folder, not a file',
    ELOOP: 'its symbolic links form a cycle',
    ENXIO: 'is a socket or a device, not a regular file',
    ENODEV: 'is a device, not a regular file',
  };
  return new DataError(reasons[code ?? ''] ?? (error as Error).message, { cause: error });
}
