/** Tabs, as the ARIA authoring practices describe them: arrow keys go from one to the next. */
import { useRef } from 'preact/hooks';
import './tabs.css';

interface TabsProps<T extends string> {
  label: string;
  tabs: Readonly<Record<T, string>>;
  current: T;
  onChange: (tab: T) => void;
  /** Id of the element with what the tabs show, which tabId() labels. */
  panel: string;
  /** Those that can't be opened now; default none. */
  isDisabled?: (tab: T) => boolean;
}

export const tabId = (tab: string): string => `tab-${tab}`;

export function Tabs<T extends string>(props: TabsProps<T>) {
  const { label, tabs, current, onChange, panel, isDisabled = () => false } = props;
  const list = useRef<HTMLDivElement>(null);
  const names = Object.keys(tabs) as T[];
  const byKey = (event: KeyboardEvent): void => {
    const open = names.filter((name) => !isDisabled(name));
    const at = open.indexOf(current);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: open.length - 1 }[event.key];
    if (to === undefined || open.length === 0) return;
    event.preventDefault();
    const next = open[(to + open.length) % open.length]!;
    onChange(next);
    list.current!.querySelector<HTMLElement>(`#${tabId(next)}`)!.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label={label} ref={list} onKeyDown={byKey}>
      {names.map((name) => (
        <button
          key={name}
          type="button"
          role="tab"
          id={tabId(name)}
          aria-selected={name === current}
          aria-controls={panel}
          disabled={isDisabled(name)}
          tabIndex={name === current ? 0 : -1}
          onClick={() => name !== current && onChange(name)}
        >
          {tabs[name]}
        </button>
      ))}
    </div>
  );
}
