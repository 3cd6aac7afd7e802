// fauxqs on the port of its argument, made like the service in two things: it takes characters beyond the basic plane, and URLs
// of queues have the address that they were created by.

import process from 'node:process';

const inside = (path) => import(new URL(path, import.meta.resolve('fauxqs')).href);
const [{ buildApp }, { SqsStore }, { INVALID_MESSAGE_BODY_CHAR: refused }] = await Promise.all([
  import('fauxqs'),
  inside('sqs/sqsStore.js'),
  inside('sqs/sqsTypes.js'),
]);

const reallyRefused = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u;
refused.test = (text) => reallyRefused.test(text);

const sqsStore = new SqsStore();
sqsStore.host = '';
const app = buildApp({ logger: false, stores: { sqsStore } });
await app.listen({ port: Number(process.argv[2]), host: '127.0.0.1' });
