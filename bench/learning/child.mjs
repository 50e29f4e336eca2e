/** Child processes of the harness: one at a time, their output in a file. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

let running = null;
let isStopped = false;

/** Stops the child that runs, with SIGINT as Ctrl-C would; the harness ends with it. */
export function stopChild() {
  isStopped = true;
  running?.kill('SIGINT');
}

const lastLines = (file) => readFileSync(file, 'utf8').trim().split('\n').slice(-15).join('\n');

/**
 * Runs a command to its end; its output goes to `log`.
 * @param onStart - Called with the child at once.
 * @returns Seconds from its start to its end, as a clock on the wall shows them.
 */
export async function runChild(command, args, { log, env = {}, onStart, mayBeStopped = false }) {
  const file = openSync(log, 'w');
  const start = performance.now();
  try {
    const child = spawn(command, args, { stdio: ['ignore', file, file], env: { ...process.env, ...env } });
    running = child;
    onStart?.(child);
    const [code, signal] = await new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('exit', (...ended) => resolve(ended));
    });
    const seconds = (performance.now() - start) / 1000;
    if (isStopped) throw new Error('interrupted');
    if (code !== 0 && !mayBeStopped)
      throw new Error(
        `${command} ${args.join(' ')}\nended with ${signal ?? `code ${code}`}:\n${lastLines(log)}`,
      );
    return seconds;
  } finally {
    running = null;
    closeSync(file);
  }
}

/** Runs a script of ours that prints JSON lines, to its end. */
export async function jsonLines(script, args) {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  running = child;
  let errors = '';
  child.stderr.on('data', (text) => (errors = (errors + text).slice(-3000)));
  const ended = new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  const values = [];
  for await (const line of createInterface({ input: child.stdout })) values.push(JSON.parse(line));
  const code = await ended;
  running = null;
  if (isStopped) throw new Error('interrupted');
  if (code !== 0 || values.at(-1)?.done !== true)
    throw new Error(`${script} ${args.join(' ')} failed:\n${errors}`);
  return values.slice(0, -1);
}
