/** Tabs, as the ARIA authoring practices describe them: arrow keys go from one to the next. */
import { useRef } from 'preact/hooks';

interface TabsProps<T extends string> {
  label: string;
  tabs: Readonly<Record<T, string>>;
  current: T;
  onChange: (tab: T) => void;
  /** The element with what the tabs show. */
  panel: string;
}

export function Tabs<T extends string>({ label, tabs, current, onChange, panel }: TabsProps<T>) {
  const list = useRef<HTMLDivElement>(null);
  const names = Object.keys(tabs) as T[];
  const byKey = (event: KeyboardEvent): void => {
    const at = names.indexOf(current);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: names.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = (to + names.length) % names.length;
    onChange(names[next]!);
    (list.current!.children[next] as HTMLElement).focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label={label} ref={list} onKeyDown={byKey}>
      {names.map((name) => (
        <button
          key={name}
          type="button"
          role="tab"
          id={`tab-${name}`}
          aria-selected={name === current}
          aria-controls={panel}
          tabIndex={name === current ? 0 : -1}
          onClick={() => name !== current && onChange(name)}
        >
          {tabs[name]}
        </button>
      ))}
    </div>
  );
}
