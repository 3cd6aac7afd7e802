// Workflows that cannot be said in Go's messages, or that the backend cannot complete: an error, and nothing has happened.

import {
  type Backend,
  type BackendCapabilities,
  chain,
  chord,
  group,
  type Signature,
  type Workflow,
} from '@machinery/core';
import { type AnyChain, workflowOf } from './building.ts';
import { assertCode } from './results.ts';
import { assertUntouched, countedServer } from './sending.ts';
import { chainOf, chordOf, groupOf, type Sketch, task, type WorkflowSketch } from './sketch.ts';
import type { WorkflowSuite } from './workflows-under-test.ts';

const ignores = { ignoreResult: true } as const;
const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((label) => task(label)) as [Sketch, Sketch, Sketch, Sketch];

const refused: Readonly<Record<string, WorkflowSketch>> = {
  'a chain without steps': chainOf(),
  'a chain in which something follows a group': chainOf(a, groupOf(b), c),
  'a chain in which something follows a chain that ends in a group': chainOf(chainOf(a, groupOf(b)), c),
  'a group that is the member of a group': groupOf(groupOf(a)),
  'a chain that ends in a group, as the member of a group': groupOf(chainOf(a, groupOf(b))),
  'a chord that ends in a group, as the member of a chord': chordOf([chordOf([a], chainOf(b, groupOf(c)))], d),
  'a chord that calls back a group': chordOf([a], groupOf(b)),
  'a chord that calls back a chord': chordOf([a], chordOf([b], c)),
  'a chord that calls back a chain that begins with a chord': chordOf([a], chainOf(chordOf([b], c), d)),
  'a step that ignores the result beside a callback that takes it': chainOf(
    task('a', { onSuccess: [task('b')] }),
    task('c', ignores),
  ),
  'members of which one ignores the result and one takes it': chainOf(a, groupOf(b, task('c', ignores))),
  'a callback that ignores the results of its group, and whose own is taken': chordOf(
    [a],
    chainOf(task('b', ignores), c),
  ),
  'a callback that takes the results of its group, and whose own is ignored': chordOf(
    [a],
    chainOf(b, task('c', ignores)),
  ),
};

export function testRefusals(suite: WorkflowSuite): void {
  suite.describe('what is refused before anything has happened', () => {
    for (const [name, sketch] of Object.entries(refused)) {
      suite.it(name, async (scene) => {
        const { server, broker, backend } = await countedServer(scene);
        const send = async () => server.sendChain(workflowOf(sketch, scene.queue) as AnyChain);
        await assertCode(send(), 'ERR_MACHINERY_INVALID_SIGNATURE');
        assertUntouched(broker, backend);
      });
    }

    suite.it('a delay of what follows something', async (scene) => {
      const { server, broker, backend } = await countedServer(scene);
      const [first, late] = [scene.task('a'), delayed(scene.task('b'))];
      const sends: (() => Workflow)[] = [
        () => chain(first, late),
        () => chain(first, chord([late], scene.task('c'))),
        () => chord([first], late),
        () => chord([first], chain(scene.task('c'), late)),
        () => chain(first, group([late])),
      ];
      for (const workflow of sends)
        await assertCode((async () => server.sendChain(workflow() as AnyChain))(), 'ERR_MACHINERY_INVALID_SIGNATURE');
      assertUntouched(broker, backend);
    });

    suite.it('a chord, on a backend that stores nothing or whose states can be read but once', async (scene) => {
      for (const capabilities of [{ storesResults: false }, { storesResults: true, readConsumes: true }]) {
        const server = await scene.server({ backend: (inner) => declaring(inner, capabilities) });
        for (const sketch of [chordOf([a, b], c), chainOf(a, chordOf([b], c)), groupOf(chordOf([a], b))])
          await assertCode(scene.send(server, sketch), 'ERR_MACHINERY_NOT_SUPPORTED');
      }
      await scene.quiet();
    });
  });
}

/** As `with({ delayMs })` makes it. */
function delayed(signature: Signature): Signature {
  return Object.assign({}, signature, { [Symbol.for('@machinery/core.delayMs')]: 1_000 });
}

/** The backend, saying that it can do less than it can. */
function declaring(inner: Backend, capabilities: BackendCapabilities): Backend {
  return new Proxy(inner, {
    get(target, key) {
      if (key === 'capabilities') return capabilities;
      const member: unknown = key === 'watch' ? undefined : Reflect.get(target, key, target);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}
