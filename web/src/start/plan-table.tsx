/** The settings as a table, in the order of the help: their values, which can be edited in place, and why they are so. */
import { useId, useRef, useState } from 'preact/hooks';
import type { SettingField, StartPlan, StartRequest } from '../api.ts';
import { setting } from '../ui/format.ts';
import { Table } from '../ui/table.tsx';

const HEAD = ['Setting', 'Value', 'Why'] as const;
/** Shown even if nothing was chosen for them: how long it takes is what people ask first. */
const ALWAYS: readonly string[] = ['epochs', 'for'];

interface ValueProps {
  id: string;
  field: SettingField;
  /** '' where there is none. */
  value: string;
  isWrong: boolean;
  onChange: (text: string) => void;
}

/** Takes what is typed when it is complete: with Enter, or when something else is clicked. */
function Value({ id, field, value, isWrong, onChange }: ValueProps) {
  const [typed, setTyped] = useState<string | null>(null);
  const common = {
    ...{ id, name: field.name, value: typed ?? value, 'aria-invalid': isWrong || undefined },
    onInput: (event: { currentTarget: { value: string } }) => setTyped(event.currentTarget.value),
    onChange: (event: { currentTarget: { value: string } }) => {
      setTyped(null);
      onChange(event.currentTarget.value);
    },
  };
  if (field.kind === 'boolean')
    return (
      <select id={id} name={field.name} value={value} onChange={common.onChange}>
        {value === '' && <option value="" />}
        <option value="true">true</option>
        <option value="false">false</option>
      </select>
    );
  if (field.kind === 'words') return <textarea rows={2} {...common} />;
  return <input type="text" {...common} />;
}

/** The setting that a problem begins with: `--batch-size is "many"; ...` is about batchSize. */
const subjectOf = (problem: string): string | undefined =>
  /^(?:--)?([\w-]+)/.exec(problem)?.[1]?.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());

interface PlanTableProps {
  plan: StartPlan;
  overrides: StartRequest['overrides'];
  /** Sentences, each beginning with the setting that it is about. */
  problems: readonly string[];
  /** null: as the plan has it again. */
  onChange: (name: string, value: string | null) => void;
}

function Row({ field, ...props }: PlanTableProps & { field: SettingField }) {
  const { plan, overrides, problems, onChange } = props;
  const { name, help, kind } = field;
  const id = useId();
  const chosen = plan.settings[name];
  const text = (value: unknown): string =>
    value === undefined || value === null
      ? ''
      : kind === 'words' && Array.isArray(value)
        ? value.join('\n')
        : setting(value);
  const own = overrides[name];
  const problem = problems.find((one) => subjectOf(one) === name);
  const reason = plan.choices.find((one) => one.name === name)?.reason;
  return (
    <tr class={own === undefined ? undefined : 'own'}>
      <th scope="row" title={help}>
        <label for={id}>
          <code>{name}</code>
        </label>
      </th>
      <td>
        <Value
          {...{ id, field }}
          value={own ?? text(chosen)}
          isWrong={problem !== undefined}
          onChange={(value) => {
            const isTakenBack = value.trim() === '' || (own === undefined && value === text(chosen));
            onChange(name, isTakenBack ? null : value);
          }}
        />
        {own !== undefined && (
          <button
            type="button"
            class="quiet"
            aria-label={`Reset ${name}`}
            onClick={() => onChange(name, null)}
          >
            Reset
          </button>
        )}
      </td>
      <td class="note" title={help}>
        {problem ?? (own === undefined ? (reason ?? help) : 'Your choice.')}
      </td>
    </tr>
  );
}

export function PlanTable(props: PlanTableProps) {
  const { plan, overrides } = props;
  // a row stays where it is while it is edited: a choice that is overridden is not among the preset's choices
  const main = useRef(new Set([...ALWAYS, ...Object.keys(overrides)])).current;
  for (const { name } of plan.choices) main.add(name);
  const rows = (fields: readonly SettingField[]) =>
    fields.map((field) => <Row key={field.name} field={field} {...props} />);
  const rest = plan.fields.filter(({ name }) => !main.has(name));
  const changed = rest.filter(({ name }) => overrides[name] !== undefined).length;
  return (
    <>
      {plan.warnings.map((warning) => (
        <p key={warning} class="failure">
          {warning}
        </p>
      ))}
      <Table class="planned" head={HEAD}>
        {rows(plan.fields.filter(({ name }) => main.has(name)))}
      </Table>
      <details>
        <summary>All other settings{changed > 0 && ` (${changed} changed)`}</summary>
        <Table class="planned" head={HEAD}>
          {rows(rest)}
        </Table>
      </details>
    </>
  );
}
