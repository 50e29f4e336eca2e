/** What is shown while something is loaded, and when something has failed. */
import type { ComponentChildren } from 'preact';
import { RequestError, wordsOf } from '../errors.ts';

export function Loading({ what }: { what: string }) {
  return (
    <p class="loading" role="status">
      Loading {what}…
    </p>
  );
}

/** A failure, shown where it happened; everything else keeps working. */
export function Failure({ error, children }: { error: unknown; children?: ComponentChildren }) {
  const problems = error instanceof RequestError ? error.problems : [];
  return (
    <div class="failure" role="alert">
      {problems.length > 1 ? (
        <ul>
          {problems.map((problem) => (
            <li key={problem}>{problem}</li>
          ))}
        </ul>
      ) : (
        <p>{wordsOf(error)}</p>
      )}
      {children}
    </div>
  );
}
