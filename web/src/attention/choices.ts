/** What is chosen of how maps are drawn, kept in the address: reload, Back and a copied link show the same. */
import { addressWith, navigate, route, setQuery } from '../router.ts';
import { STYLES, type Style } from './paint.ts';
import { type Drawn, USUAL_DRAWN } from './sliders.tsx';

/** A number of the address; null when there is none that can be used. */
export function numberOf(name: string, least: number, most: number): number | null {
  const text = route.value.query.get(name);
  const value = text === null || text === '' ? NaN : Number(text);
  return value >= least && value <= most ? value : null;
}

const textOf = (value: number, usual: number): string | null => (value === usual ? null : String(value));

/** The most heads of any network, and the longest side of any picture. */
const MOST_HEADS = 1024;
const LONGEST_SIDE = 8192;

/** How maps are drawn, as the address says. */
export function drawnOfAddress(): Drawn {
  const style = route.value.query.get('drawn');
  return {
    head: Math.floor(numberOf('head', 0, MOST_HEADS) ?? USUAL_DRAWN.head),
    setHead: (head) => setQuery('head', textOf(head, USUAL_DRAWN.head)),
    style: style !== null && Object.hasOwn(STYLES, style) ? (style as Style) : USUAL_DRAWN.style,
    setStyle: (next) => setQuery('drawn', next === USUAL_DRAWN.style ? null : next),
    overlay: numberOf('strength', 0, 1) ?? USUAL_DRAWN.overlay,
    setOverlay: (overlay) => setQuery('strength', textOf(overlay, USUAL_DRAWN.overlay)),
    mass: numberOf('mass', 0, 1) ?? USUAL_DRAWN.mass,
    setMass: (mass) => setQuery('mass', textOf(mass, USUAL_DRAWN.mass)),
  };
}

/** The resolution that was chosen: the shorter side, pixels; null: the usual one. */
export const sideOfAddress = (): number | null => {
  const side = numberOf('size', 1, LONGEST_SIDE);
  return side === null ? null : Math.round(side);
};
export const setSide = (side: number | null): void => setQuery('size', side === null ? null : String(side));

/** A switch; off unless the address has it. */
export const isOn = (name: string): boolean => route.value.query.get(name) === '1';
export const turn = (name: string, on: boolean): void => setQuery(name, on ? '1' : null);

export const VIEWS = {
  attention: 'Attention',
  likeness: 'Likeness',
  colors: 'Parts in colour',
} as const;
export type View = keyof typeof VIEWS;

export function viewOfAddress(): View {
  const given = route.value.query.get('view') ?? '';
  return Object.hasOwn(VIEWS, given) ? (given as View) : 'attention';
}

/** A patch of one of the images. */
export interface Place {
  image: number;
  patch: number;
}

/** The patch that is pinned. */
export function pinnedOfAddress(): Place | null {
  const found = /^([01])-(\d{1,5})$/.exec(route.value.query.get('patch') ?? '');
  return found === null ? null : { image: Number(found[1]), patch: Number(found[2]) };
}

/** Shows a view, and with `pin` a pinned patch; Back returns to the view before. */
export function show(view: View, pin?: Place | null): void {
  const changes = {
    view: view === 'attention' ? null : view,
    ...(pin === undefined ? {} : { patch: pin === null ? null : `${pin.image}-${pin.patch}` }),
  };
  navigate(addressWith(changes), { replace: view === viewOfAddress() });
}
