// A worker on a YAML file of Go Machinery's. What changes in the file meanwhile takes effect.

import process from 'node:process';
import { defineTask, int64, rest } from '@machinery/core';
import { configFromYaml, createServer } from '@machinery/core/config';

const add = defineTask('add', { args: rest(int64), returns: int64 });

using config = configFromYaml(process.argv[2] ?? 'machinery.yml', { reload: true });
await using server = await createServer(config);
server.handle(add, (_task, ...terms) => terms.reduce((sum, term) => sum + term, 0));
const worker = server.newWorker('worker-1');
await worker.start();
console.log(`${server.broker.name} serves ${server.defaultQueue}`);
await worker.launch(); // until SIGINT or SIGTERM
