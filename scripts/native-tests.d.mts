export interface NativeTests {
  files: string[];
  names?: string;
}
export const NATIVE_TESTS: NativeTests[];
export function runNativeTests(
  env: Record<string, string | null>,
  tests?: NativeTests[],
): Promise<{ ok: boolean; output: string }>;
