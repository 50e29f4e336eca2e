/** Mutants of an index. */
import { fuzzIndex } from '../testing/fuzz-index.js';
import { testMutants } from '../testing/fuzz-test.js';

testMutants('an index', fuzzIndex, 100);
