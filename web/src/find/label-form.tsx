import { useState } from 'preact/hooks';
import { Form } from '../ui/form.tsx';
import { Failure } from '../ui/parts.tsx';
import type { IndexLabels } from './use-labels.ts';

interface LabelFormProps {
  labels: IndexLabels;
  button: string;
  onLabel: (label: string) => void;
}

/** A field for a label, which offers those that there are. */
export function LabelForm({ labels, button, onLabel }: LabelFormProps) {
  const [text, setText] = useState('');
  return (
    <Form
      class="row"
      onSubmit={() => {
        if (text.trim() === '') return;
        onLabel(text.trim());
        setText('');
      }}
    >
      <label>
        <span class="hidden">Label</span>
        <input
          type="text"
          name="label"
          list="known-labels"
          placeholder="a new or known label"
          maxLength={100}
          pattern="[^.\/\\][^\/\\]*"
          title="1 to 100 characters, without / and \, that do not begin with a dot"
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
        />
      </label>
      <datalist id="known-labels">
        {labels.groups.map(({ label }) => (
          <option key={label} value={label} />
        ))}
      </datalist>
      <button type="submit">{button}</button>
      {labels.changeError !== null && <Failure error={labels.changeError} />}
    </Form>
  );
}
