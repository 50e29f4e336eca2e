export const ROOMS: readonly (readonly [name: string, holds: string])[];
export function problems(): string[];
export function outdated(): Promise<string[]>;
