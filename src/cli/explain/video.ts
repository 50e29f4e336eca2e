/** `dino video`: attention over a video; see src/explain/video.ts. */
import { Option, type Command } from 'commander';
import { addExamples, check, interruptSignal, type Invocation, readNumber, setAliases } from '../command.js';
import {
  addImageSizeOption,
  addModelOptions,
  counter,
  evalAliases,
  loadForEvaluation,
  readImageSize,
} from '../eval/options.js';
import type { AttentionVideoOptions, VideoPicture } from '../../explain/video.js';
import type { ColourMap } from '../../plain/colors.js';

export function define(command: Command): void {
  command
    .argument('<weights>', 'run folder, checkpoint folder or weights file')
    .argument('<frames...>', "a video, a folder of pictures, a pattern as 'frames/*.jpg', or pictures")
    .option('-o, --output <file>', 'the video to write, .mp4 or .webm')
    .addOption(
      new Option('--show <what>', 'the map, the map over the frame, a mask, or frame and map side by side')
        .choices(['map', 'overlay', 'mask', 'beside'])
        .default('map'),
    )
    .option('--threshold <share>', 'show only the patches that hold this share of the attention, as 0.6')
    .option('--head <n>', 'one head, counted from 0 (default: the mean of all)')
    .option('--fps <n>', "frames a second (default: the video's own, 30 for pictures)")
    .addOption(
      new Option('--colours <map>', 'colours of the map').choices(['inferno', 'viridis']).default('inferno'),
    );
  addImageSizeOption(command, 'the frames as they are, at most 4,096 patches');
  addModelOptions(command);
  setAliases(command, {
    ...evalAliases,
    '--resize': '--image-size',
    '--output-path': '--output',
    '--colors': '--colours',
  });
  addExamples(command, 'dino video runs/first dog.mp4 --output attention.mp4 --show overlay');
}

export async function run(invocation: Invocation): Promise<void> {
  const { args, options, io } = invocation;
  const output = options['output'] as string | undefined;
  const number = (name: 'threshold' | 'head' | 'fps', bounds: Parameters<typeof readNumber>[2]) =>
    options[name] === undefined ? {} : { [name]: readNumber(invocation, name, bounds) };
  const chosen = {
    ...number('threshold', { min: Number.MIN_VALUE, max: 1, whole: false }),
    ...number('head', { min: 0 }),
    ...number('fps', { min: 0.01, max: 1000, whole: false }),
    ...readImageSize(invocation),
    show: options['show'] as VideoPicture,
    colours: options['colours'] as ColourMap,
  } satisfies Partial<AttentionVideoOptions>;
  check(invocation, output === undefined ? ['--output is missing: a video to write, .mp4 or .webm'] : []);
  const interrupt = interruptSignal(() => io.note('interrupted'));
  try {
    const { writeAttentionVideo } = await import('../../explain/video.js');
    const model = await loadForEvaluation(invocation);
    const count = counter(io);
    const result = await writeAttentionVideo(model, args.slice(1), {
      ...chosen,
      output: output!,
      signal: interrupt.signal,
      onProgress: ({ done, total }) => count('frames', done, total ?? done),
      onWarning: (message) => io.warn(message),
    });
    const { frames, fps, width, height, rows, columns } = result;
    io.result(
      result,
      `${output!}: ${frames} frames of ${width} x ${height}, ${Number(fps.toFixed(2))} a second, ` +
        `${rows} x ${columns} patches`,
    );
  } finally {
    interrupt.release();
  }
}
