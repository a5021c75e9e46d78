// Writes runs/run.schema.json from the table of run file fields; a test compares the two.
import { writeFileSync } from 'node:fs';
import { runSchema } from '../dist/src/node/training/run-file.js';

writeFileSync('runs/run.schema.json', `${JSON.stringify(runSchema(), null, 2)}\n`);
