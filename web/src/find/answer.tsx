/** The answer of an index: images, or groups of them, which can be chosen. */
import { type FindAnswer, type FoundImage, pictureOf } from '../api.ts';
import { counted } from '../ui/format.ts';
import type { Chosen } from './ask.ts';

interface AnswerProps {
  title: string;
  answer: FindAnswer;
  chosen: Chosen;
  toggle: (which: keyof Chosen, row: number) => void;
  select: (rows: number[]) => void;
}

export function Answer({ title, answer, chosen, toggle, select }: AnswerProps) {
  const shared = { chosen, toggle };
  if (answer.kind === 'images')
    return (
      <section aria-label={title}>
        <h2>{title}</h2>
        <button type="button" onClick={() => select(answer.images.map(({ row }) => row))}>
          Select all of these
        </button>
        <Pictures images={answer.images} label={title} {...shared} />
      </section>
    );
  if (answer.kind !== 'groups') return null;
  return (
    <section aria-label={title}>
      <h2>
        {title}: {answer.groups.length}
      </h2>
      {answer.groups.slice(0, 100).map(({ rows, images }, i) => (
        <section key={rows[0]} class="group" aria-label={`Group ${i + 1}`}>
          <h3>
            {i + 1}: {counted(rows.length, 'image')}
          </h3>
          <button type="button" onClick={() => select(rows)}>
            Select group {i + 1}
          </button>
          <Pictures images={images.slice(0, 20)} label={`Group ${i + 1}`} {...shared} />
        </section>
      ))}
    </section>
  );
}

const MARKS = [
  { which: 'plus', words: 'More like', sign: '+' },
  { which: 'minus', words: 'Less like', sign: '−' },
  { which: 'selected', words: 'Select', sign: '✓' },
] as const;

interface PicturesProps extends Pick<AnswerProps, 'chosen' | 'toggle'> {
  images: readonly FoundImage[];
  label: string;
}

function Pictures({ images, label, chosen, toggle }: PicturesProps) {
  return (
    <ul class="pictures" aria-label={`${label}: images`}>
      {images.map(({ row, path, name, score }) => (
        <li key={row}>
          <img src={pictureOf(path)} alt={name} loading="lazy" />
          <span class="name">
            {name}
            {score !== null && ` ${score.toFixed(3)}`}
          </span>
          <span class="row">
            {MARKS.map(({ which, words, sign }) => (
              <button
                key={which}
                type="button"
                aria-pressed={chosen[which].has(row)}
                aria-label={`${words} ${name}`}
                onClick={() => toggle(which, row)}
              >
                {sign}
              </button>
            ))}
          </span>
        </li>
      ))}
    </ul>
  );
}
