/** The settings of a training: what the preset chooses and why, and what is chosen by hand. */
import { useSignal } from '@preact/signals';
import type { PresetChoice, StartPlan, StartRequest } from '../api.ts';
import { count, duration, setting } from '../ui/format.ts';
import { Form } from '../ui/form.tsx';
import { Failure, Loading } from '../ui/parts.tsx';
import { SettingsTable } from '../ui/settings-table.tsx';
import { Table } from '../ui/table.tsx';
import { useRequest } from '../use-request.ts';
import { Begin } from './begin.tsx';
import { Crops } from './crops.tsx';
import { Trial } from './trial.tsx';

/** "out-dim 256" or "outDim=256", one per line. */
function parseOverrides(text: string): Record<string, string> {
  const entries = text
    .split('\n')
    .map((line) => line.trim().replace(/^--/, ''))
    .filter((line) => line !== '')
    .map((line): [string, string] => {
      const [, name = '', value = ''] = /^([^\s=:]+)\s*[=:\s]?\s*(.*)$/.exec(line) ?? [];
      return [name, value];
    });
  return Object.fromEntries(entries);
}

/** How long the training is, in words. */
const lengthOf = ({ seconds, steps, stepsPerEpoch, device }: StartPlan): string =>
  (seconds === null
    ? `${count(steps)} steps, ${count(stepsPerEpoch)} an epoch`
    : `As many steps as fit in ${duration(seconds)}, measured when it starts; ${count(stepsPerEpoch)} an epoch`) +
  `, on ${device}.`;

function PlanTable({ plan }: { plan: StartPlan }) {
  const chosen = new Set(plan.choices.map(({ name }) => name));
  return (
    <>
      <p>{lengthOf(plan)}</p>
      {plan.warnings.map((warning) => (
        <p key={warning} class="failure">
          {warning}
        </p>
      ))}
      <Table class="planned" head={['Setting', 'Chosen', 'Why']}>
        {plan.choices.map(({ name, value, reason }) => (
          <tr key={name}>
            <th scope="row">
              <code>{name}</code>
            </th>
            <td>{setting(value)}</td>
            <td class="note">{reason}</td>
          </tr>
        ))}
      </Table>
      <details>
        <summary>All other settings</summary>
        <SettingsTable settings={Object.entries(plan.settings).filter(([name]) => !chosen.has(name))} />
      </details>
    </>
  );
}

/** Chooses settings; once they are valid, shows what can be done with them. */
export function Planning({ images, folders }: { images: string; folders: readonly string[] }) {
  const preset = useSignal<PresetChoice>('auto');
  const text = useSignal('');
  const applied = useSignal('');
  const body: StartRequest = {
    images,
    preset: preset.value,
    overrides: parseOverrides(applied.value),
  };
  const { answer: plan, error } = useRequest('POST /api/start/plan', { body });
  return (
    <>
      <section class="card" aria-labelledby="settings">
        <h2 id="settings">Settings</h2>
        <Form class="settings" onSubmit={() => (applied.value = text.value)}>
          <label>
            Preset{' '}
            <select
              value={preset.value}
              onChange={(event) => (preset.value = event.currentTarget.value as PresetChoice)}
            >
              <option value="auto">auto: chosen for these images and this machine</option>
              <option value="paper">paper: the reference’s defaults</option>
            </select>
          </label>
          <label>
            Your own settings, one per line
            <textarea
              rows={3}
              placeholder={'for 10m\nout-dim 256'}
              value={text.value}
              onInput={(event) => (text.value = event.currentTarget.value)}
            />
          </label>
          <button type="submit">Apply</button>
        </Form>
        {error !== null && <Failure error={error} />}
        {plan === null ? error === null && <Loading what="the settings" /> : <PlanTable plan={plan} />}
      </section>
      {plan !== null && (
        <>
          <Crops body={body} />
          <Trial body={body} />
          <Begin {...{ body, folders }} length={lengthOf(plan)} />
        </>
      )}
    </>
  );
}
