/** The model by WebGPU. */
import * as ort from 'onnxruntime-web/webgpu';
import { serve } from './infer.ts';

serve({ ort, provider: 'webgpu' });
