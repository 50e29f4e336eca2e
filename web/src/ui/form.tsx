import type { ComponentChildren } from 'preact';

export interface FormProps {
  class?: string;
  onSubmit: (form: HTMLFormElement) => void;
  children: ComponentChildren;
}

/** A form that is handled in the page. */
export function Form({ class: name, onSubmit, children }: FormProps) {
  return (
    <form
      class={name}
      onSubmit={(event) => {
        event.preventDefault();
        onSubmit(event.currentTarget);
      }}
    >
      {children}
    </form>
  );
}
