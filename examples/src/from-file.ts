// A worker on a YAML file of Go Machinery's: `node dist/from-file.js machinery.yml`. What changes in the file meanwhile takes effect.

import process from 'node:process';
import { configFromYaml, createServer } from '@machinery/core/config';
import { registerHandlers } from './worker.ts';

using config = configFromYaml(process.argv[2] ?? 'machinery.yml', { reload: true });
await using server = await createServer(config);
registerHandlers(server);
const worker = server.newWorker('worker-1');
await worker.start();
console.log(`${server.broker.name} serves ${server.defaultQueue}`);
await worker.launch();
