/** The sections of the page, in the order of the menu. Each is a file of its own that is loaded when it is opened. */
import type { ComponentType } from 'preact';

export interface Section {
  /** First part of its addresses. */
  id: string;
  title: string;
  load: () => Promise<{ default: ComponentType }>;
}

export const sections: readonly Section[] = [
  { id: 'runs', title: 'Runs', load: () => import('./runs.tsx') },
  { id: 'start', title: 'Start', load: () => import('./start.tsx') },
  { id: 'look', title: 'Look', load: () => import('./look.tsx') },
  { id: 'find', title: 'Find and map', load: () => import('./find.tsx') },
];
