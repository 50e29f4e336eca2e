/** Which checkpoint is shown, and how the film of them plays. */
import { useEffect, useRef, useState } from 'preact/hooks';

/** How long a film takes from beginning to end, seconds. */
export const SPEEDS = { slow: 12, normal: 6, fast: 3 } as const;
export type Speed = keyof typeof SPEEDS;
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
  /** The frame was chosen by hand. */
  isHeld: boolean;
}

/**
 * @param count - Frames there are. Who looks at the newest is shown those that come later.
 * @param begins - Whether it plays by itself as soon as there are frames.
 * @param first - The frame to begin with, held as if it had been chosen; null: none.
 */
export function usePlayer(count: number, begins: boolean, first: number | null): Player {
  const [at, setAt] = useState(count - 1);
  const [isPlaying, setPlaying] = useState(false);
  const [speed, setSpeed] = useState<Speed>('normal');
  const [isLooping, setLooping] = useState(true);
  const [isHeld, setHeld] = useState(first !== null);
  const last = count - 1;
  const known = useRef(count);
  const hasBegun = useRef(false);
  useEffect(() => {
    if (first !== null && !hasBegun.current && count > 0) {
      hasBegun.current = true;
      setAt(first);
    } else if (begins && !hasBegun.current && count > 2) {
      hasBegun.current = true;
      setAt(0);
      setPlaying(true);
    } else if (at === known.current - 1) setAt(last);
    known.current = count;
  }, [count, begins]);
  useEffect(() => {
    if (!isPlaying || count < 2) return;
    if (at >= last && !isLooping) return setPlaying(false);
    const wait = at >= last ? END_MS : frameMs(count, speed);
    const timer = setTimeout(() => setAt(at >= last ? 0 : at + 1), wait);
    return () => clearTimeout(timer);
  }, [isPlaying, at, count, speed, isLooping]);
  const toggle = (): void => {
    hasBegun.current = true;
    if (!isPlaying && at >= last) setAt(0);
    setHeld(isPlaying);
    setPlaying(!isPlaying);
  };
  const show = (value: number): void => {
    hasBegun.current = true;
    setPlaying(false);
    setHeld(true);
    setAt(value);
  };
  return {
    ...{ at: Math.max(0, Math.min(at, last)), isPlaying, toggle, show, isHeld },
    ...{ speed, setSpeed, isLooping, setLooping },
  };
}
