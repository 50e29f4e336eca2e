/** The sections of the page, in the order of the menu. Each is a folder whose code is loaded when it is first opened. */
import type { ComponentType } from 'preact';
import { lazy } from './ui/lazy.tsx';

export interface Section {
  /** First part of its addresses. */
  id: string;
  title: string;
  /** The title on a phone, where it differs: the header is one row. */
  short?: string;
  View: ComponentType;
}

const section = (id: string, title: string, load: () => Promise<ComponentType>, short?: string): Section => ({
  ...{ id, title, View: lazy(title, load) },
  ...(short === undefined ? {} : { short }),
});

export const sections: readonly Section[] = [
  section('runs', 'Runs', async () => (await import('./runs/runs.tsx')).Runs),
  section('start', 'Start', async () => (await import('./start/start.tsx')).Start),
  section('look', 'Look', async () => (await import('./look/look.tsx')).Look),
  section('find', 'Find and map', async () => (await import('./find/find.tsx')).Find, 'Find'),
];
