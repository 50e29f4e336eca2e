import { useState } from 'preact/hooks';

/** A command to copy into a terminal. */
export function Command({ children }: { children: string }) {
  const [isCopied, setCopied] = useState(false);
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(children);
      setCopied(true);
    } catch {
      // the browser does not allow it: the words can be selected
    }
  };
  return (
    <span class="command">
      <code>{children}</code>
      <button type="button" onClick={() => void copy()} aria-label={`Copy ${children}`}>
        {isCopied ? 'Copied' : 'Copy'}
      </button>
    </span>
  );
}
