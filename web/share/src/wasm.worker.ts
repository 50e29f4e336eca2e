/** The model by WebAssembly, in any browser. */
import * as ort from 'onnxruntime-web/wasm';
import { serve } from './infer.ts';

serve({ ort, provider: 'wasm' });
