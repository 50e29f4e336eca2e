/** Questions to a whole index: clusters, near-duplicates, outliers, and what to label first. */
import type { ComponentChildren } from 'preact';
import type { FindAsk, IndexAbout } from '../api.ts';
import { Form } from '../ui/form.tsx';
import type { Show } from './ask.ts';
import { numberOf, textOf } from './fields.ts';

interface Question {
  /** Title of the answer. */
  title: string;
  fields: (about: IndexAbout) => ComponentChildren;
  button: string;
  read: (form: HTMLFormElement) => FindAsk;
}

const NumberField = (props: { label: string; name: string; min: number; max: number; value: number }) => {
  const { label, name, min, max, value } = props;
  return (
    <label>
      {label}
      <input {...{ name, min, max }} type="number" step={Number.isInteger(min) ? 1 : 'any'} value={value} />
    </label>
  );
};

const QUESTIONS = {
  clusters: {
    title: 'Clusters',
    button: 'Find clusters',
    fields: () => (
      <NumberField
        label="How many; 0 chooses by the silhouette score"
        name="clusters"
        min={0}
        max={1000}
        value={0}
      />
    ),
    read: (form) => {
      const clusters = numberOf(form, 'clusters');
      return { kind: 'clusters', ...(clusters > 0 ? { clusters } : {}) };
    },
  },
  duplicates: {
    title: 'Near-duplicates',
    button: 'Find near-duplicates',
    fields: (about) => (
      <NumberField
        label="Similarity above which two images count as the same"
        name="threshold"
        min={0.01}
        max={1}
        value={about.duplicateThreshold}
      />
    ),
    read: (form) => ({ kind: 'duplicates', threshold: numberOf(form, 'threshold') }),
  },
  outliers: {
    title: 'Outliers',
    button: 'Find outliers',
    fields: () => <NumberField label="How many" name="top" min={1} max={1000} value={40} />,
    read: (form) => ({ kind: 'outliers', top: numberOf(form, 'top') }),
  },
  subset: {
    title: 'Label these first',
    button: 'Choose',
    fields: () => (
      <>
        <NumberField label="How many" name="size" min={1} max={1000} value={20} />
        <label>
          Chosen to be
          <select name="by">
            <option value="both">both: one of each kind, and typical of it</option>
            <option value="diverse">diverse: covering everything</option>
            <option value="typical">typical: from where most images are</option>
          </select>
        </label>
      </>
    ),
    read: (form) => {
      const by = textOf(form, 'by') as 'diverse' | 'typical' | 'both';
      return { kind: 'select', size: numberOf(form, 'size'), by };
    },
  },
} satisfies Record<string, Question>;

interface QuestionProps {
  kind: keyof typeof QUESTIONS;
  about: IndexAbout;
  show: Show;
}

export function Question({ kind, about, show }: QuestionProps) {
  const { title, button, fields, read }: Question = QUESTIONS[kind];
  return (
    <Form key={kind} onSubmit={(form) => show(title, read(form))}>
      {fields(about)}
      <button type="submit">{button}</button>
    </Form>
  );
}
