/** The frame around the sections: menu, theme, whether the studio still answers. */
import { Component, type ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { connection, SILENT_MS } from './live.ts';
import { href, route } from './router.ts';
import { lastInSection } from './last-place.ts';
import { sections } from './sections.ts';
import { Failure } from './ui/parts.tsx';
import { ThemeChoice } from './ui/theme-choice.tsx';
import { titleOf } from './ui/title.ts';

/** A bug in one section leaves the menu usable. */
class Boundary extends Component<{ children: ComponentChildren }, { error: unknown }> {
  override state = { error: null as unknown };
  static override getDerivedStateFromError(error: unknown) {
    return { error };
  }
  override componentDidCatch(error: unknown) {
    console.error(error);
  }
  override render() {
    if (this.state.error === null) return this.props.children;
    return (
      <Failure error={this.state.error}>
        <button type="button" onClick={() => this.setState({ error: null })}>
          Try again
        </button>
      </Failure>
    );
  }
}

/** Says when what is shown may be out of date, and why. */
function ConnectionNote() {
  switch (connection.value) {
    case 'lost':
      return (
        <p class="lost" role="alert">
          The studio has stopped or can’t be reached; what is shown may be out of date. Start it again with{' '}
          <code>dino studio</code> and open its new link.
        </p>
      );
    case 'silent':
      return (
        <p class="lost silent" role="alert">
          The studio has not answered for {SILENT_MS / 1000} seconds: what is shown may be out of date. Its
          process may be paused, or the machine may be very busy.
        </p>
      );
    case 'ended':
      return (
        <p class="lost ended" role="status">
          This studio has ended. What it showed last stays here; start it again with <code>dino studio</code>{' '}
          to see more.
        </p>
      );
    case 'connecting':
    case 'live':
      return null;
  }
}

export function App() {
  const id = route.value.parts[0] ?? sections[0]!.id;
  const section = sections.find((one) => one.id === id);
  const main = useRef<HTMLElement>(null);
  const title = titleOf(section?.title);
  useEffect(() => {
    document.title = title;
  }, [title]);
  return (
    <>
      <header class="top">
        <a
          class="skip"
          href={location.hash}
          onClick={(event) => {
            event.preventDefault();
            main.current?.focus();
          }}
        >
          Skip to content
        </a>
        <span class="brand">
          <img src="/icon.svg" alt="" width="24" height="24" /> <span>dino studio</span>
        </span>
        <nav aria-label="Sections">
          {sections.map((one) => (
            // to where it was left; from within it, to its beginning
            <a
              key={one.id}
              href={one.id === id ? href(one.id) : lastInSection(one.id)}
              aria-current={one.id === id ? 'page' : undefined}
            >
              {one.short === undefined ? (
                one.title
              ) : (
                <>
                  <span class="long">{one.title}</span>
                  <span class="short">{one.short}</span>
                </>
              )}
            </a>
          ))}
        </nav>
        <ThemeChoice />
      </header>
      <ConnectionNote />
      <main ref={main} tabIndex={-1}>
        {section === undefined ? (
          <Failure error={new Error(`There is no section “${id}”.`)} />
        ) : (
          <Boundary key={id}>
            <section.View />
          </Boundary>
        )}
      </main>
    </>
  );
}
