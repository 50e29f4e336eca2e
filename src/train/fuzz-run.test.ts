/** Mutants of a run folder. */
import { fuzzRun } from '../testing/fuzz-run.js';
import { testMutants } from '../testing/fuzz-test.js';

testMutants('a run', fuzzRun, 40);
