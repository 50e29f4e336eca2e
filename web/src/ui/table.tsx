import type { ComponentChildren } from 'preact';

export interface TableProps {
  /** The columns' titles. */
  head: readonly string[];
  class?: string;
  /** The rows. */
  children: ComponentChildren;
}

/** A table that scrolls sideways where it is wider than the page. */
export function Table({ head, class: name, children }: TableProps) {
  return (
    <div class="scroll" tabIndex={0}>
      <table class={name}>
        <thead>
          <tr>
            {head.map((title) => (
              <th key={title} scope="col">
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}
