/** Which checkpoint is shown, and how the film of them plays. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { route, setQuery } from '../router.ts';

/** How long a film takes from beginning to end, seconds. */
export const SPEEDS = { slow: 12, normal: 6, fast: 3 } as const;
export type Speed = keyof typeof SPEEDS;
const USUAL: Speed = 'normal';
/** The least and most that a frame is shown, ms. */
const [LEAST_MS, MOST_MS] = [60, 900];
/** The last frame stays longer before the film begins again. */
const END_MS = 1500;

export const frameMs = (count: number, speed: Speed): number =>
  Math.min(MOST_MS, Math.max(LEAST_MS, (1000 * SPEEDS[speed]) / Math.max(1, count)));

export interface Player {
  /** Of the frames. */
  at: number;
  isPlaying: boolean;
  speed: Speed;
  setSpeed: (speed: Speed) => void;
  isLooping: boolean;
  setLooping: (isLooping: boolean) => void;
  /** Plays or pauses. */
  toggle: () => void;
  /** Shows a frame, and pauses. */
  show: (at: number) => void;
}

/** The frame that was chosen by hand, kept by the caller. */
export interface Held {
  /** null: none, the film goes its way. */
  at: number | null;
  hold: (at: number | null) => void;
}

/** How fast it plays, as the address says. */
function speedOfAddress(): Speed {
  const given = route.value.query.get('speed') ?? '';
  return Object.hasOwn(SPEEDS, given) ? (given as Speed) : USUAL;
}

/**
 * @param count - How many frames there are. While the newest is shown, later ones are shown as they come.
 * @param begins - Whether it plays by itself as soon as there are frames.
 */
export function usePlayer(count: number, begins: boolean, held: Held): Player {
  const [free, setFree] = useState(count - 1);
  const [plays, setPlaying] = useState(false);
  const speed = speedOfAddress();
  const setSpeed = (next: Speed): void => setQuery('speed', next === USUAL ? null : next);
  const isLooping = route.value.query.get('loop') !== '0';
  const setLooping = (next: boolean): void => setQuery('loop', next ? null : '0');
  const last = count - 1;
  const at = Math.max(0, Math.min(held.at ?? free, last));
  const isPlaying = plays && held.at === null; // Back may hold one while it plays
  const known = useRef(count);
  const hasBegun = useRef(held.at !== null);
  useEffect(() => {
    if (begins && !hasBegun.current && count > 2) {
      hasBegun.current = true;
      setFree(0);
      setPlaying(true);
    } else if (free === known.current - 1) setFree(last);
    known.current = count;
  }, [count, begins]);
  useEffect(() => {
    if (!isPlaying || count < 2) return;
    if (at >= last && !isLooping) return setPlaying(false);
    const wait = at >= last ? END_MS : frameMs(count, speed);
    const timer = setTimeout(() => setFree(at >= last ? 0 : at + 1), wait);
    return () => clearTimeout(timer);
  }, [isPlaying, at, count, speed, isLooping]);
  const toggle = (): void => {
    hasBegun.current = true;
    setFree(!isPlaying && at >= last ? 0 : at);
    held.hold(isPlaying ? at : null);
    setPlaying(!isPlaying);
  };
  const show = (value: number): void => {
    hasBegun.current = true;
    setPlaying(false);
    setFree(value);
    held.hold(value);
  };
  return { at, isPlaying, toggle, show, speed, setSpeed, isLooping, setLooping };
}
