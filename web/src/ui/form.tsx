import type { ComponentChildren } from 'preact';

export interface FormProps {
  onSubmit: (form: HTMLFormElement) => void;
  children: ComponentChildren;
}

/** A form that is answered in the page. */
export function Form({ onSubmit, children }: FormProps) {
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onSubmit(event.currentTarget);
      }}
    >
      {children}
    </form>
  );
}
