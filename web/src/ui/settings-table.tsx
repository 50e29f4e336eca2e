import { setting } from './format.ts';

/** Names and values of settings. */
export function SettingsTable({ settings }: { settings: readonly (readonly [string, unknown])[] }) {
  return (
    <div class="scroll" tabIndex={0}>
      <table class="settings">
        <tbody>
          {settings.map(([name, value]) => (
            <tr key={name}>
              <th scope="row">
                <code>{name}</code>
              </th>
              <td>{setting(value)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
