/** Questions to a whole index: clusters, near-duplicates, outliers, and what to label first. */
import { ask, numberOf, type Show, textOf } from './ask.ts';

interface QuestionProps {
  index: string;
  show: Show;
}

function Clusters({ index, show }: QuestionProps) {
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        const clusters = numberOf(event.currentTarget, 'clusters');
        show('Clusters', ask(index, { kind: 'clusters', ...(clusters > 0 ? { clusters } : {}) }));
      }}
    >
      <label>
        How many; 0 chooses by the silhouette
        <input name="clusters" type="number" min="0" max="1000" value="0" />
      </label>
      <button type="submit">Find clusters</button>
    </form>
  );
}

function Duplicates({ index, show }: QuestionProps) {
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        const threshold = numberOf(event.currentTarget, 'threshold');
        show('Near-duplicates', ask(index, { kind: 'duplicates', threshold }));
      }}
    >
      <label>
        Similarity above which two images count as the same
        <input name="threshold" type="number" min="0.01" max="1" step="any" value="0.95" />
      </label>
      <button type="submit">Find near-duplicates</button>
    </form>
  );
}

function Outliers({ index, show }: QuestionProps) {
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        show('Outliers', ask(index, { kind: 'outliers', top: numberOf(event.currentTarget, 'top') }));
      }}
    >
      <label>
        How many
        <input name="top" type="number" min="1" max="1000" value="40" />
      </label>
      <button type="submit">Find outliers</button>
    </form>
  );
}

function Subset({ index, show }: QuestionProps) {
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        const form = event.currentTarget;
        const by = textOf(form, 'by') as 'diverse' | 'typical' | 'both';
        show('Label these first', ask(index, { kind: 'select', size: numberOf(form, 'size'), by }));
      }}
    >
      <label>
        How many
        <input name="size" type="number" min="1" max="1000" value="20" />
      </label>
      <label>
        Chosen to be
        <select name="by">
          <option value="both">one of each kind, and typical of it</option>
          <option value="diverse">diverse: covering everything</option>
          <option value="typical">typical: from the thick of it</option>
        </select>
      </label>
      <button type="submit">Choose</button>
    </form>
  );
}

const QUESTIONS = { clusters: Clusters, duplicates: Duplicates, outliers: Outliers, subset: Subset };

export function Question({ kind, ...props }: QuestionProps & { kind: keyof typeof QUESTIONS }) {
  const Form = QUESTIONS[kind];
  return <Form {...props} />;
}
