// The Go programs of the tests are built once, before the tests that start them: several at once would each compile all modules.

import { buildGo, findGo } from '@machinery/services';

export default async function setup(): Promise<void> {
  const go = findGo();
  if (go === undefined) return;
  await buildGo(go, '.');
  await buildGo(go, './pubsub-fake');
}
