// What a body may hold: any text that a signature can become.

import assert from 'node:assert/strict';
import { decodeSignature } from '@machinery/core';
import { ack } from './hands.ts';
import type { Scene } from './scene.ts';
import type { Suite } from './suite.ts';

/** Texts of arguments. Escaped in the body, as JSON wants it: NUL, control characters, lone surrogates. The rest is there as it is. */
const texts: Record<string, string> = {
  'several scripts': 'Grüße, Ελληνικά, кириллица, עברית, العربية, हिन्दी, ไทย, 日本語, 한국어',
  'emoji and other astral characters': '👩‍👩‍👧‍👦🏳️‍🌈🇪🇺𝔘𐍈\u{10fffd}',
  'combining marks, which nothing may normalize': 'e\u0301 \u00e9 \u1112\u1161\u11ab \ufb01',
  'spaces, line ends and separators of every kind': ' \t\r\n\v\f\u0085\u00a0\u2028\u2029\u3000\ufeff ',
  'NUL and other control characters': '\u0000\u0001\u001b\u007f\u009f',
  'lone surrogates': '\ud800 \udfff',
  'quotes, backslashes and markup': `"'\\\`/<a b="&amp;">]]><!-- %00 %s \${x} #{y} {{z}} --`,
  'the edges of the basic plane': '\ud7ff\ue000\uf8ff\ufffd',
};

export function bodies({ it, capabilities: { maxMessageBytes } }: Suite): void {
  for (const [what, text] of Object.entries(texts)) {
    if (Buffer.byteLength(text) * 6 > (maxMessageBytes ?? Number.POSITIVE_INFINITY)) continue;
    it(`keeps ${what}`, async (scene) => assert.equal(await roundTrip(scene, scene.message('1', { text })), text));
  }

  it('keeps U+FFFE and U+FFFF, in whatever form of JSON', async (scene) => {
    // SQS knows neither (and replaces them): its adapter may write them as escapes.
    const text = 'a\ufffeb\uffffc';
    const message = scene.message('1', { text });
    await scene.publish(message);
    const hands = await scene.consume();
    assert.equal(decodeSignature((await hands.takeOne()).body).args?.[0]?.value, text);
  });

  it('keeps a body that its own encoder would write otherwise', async (scene) => {
    const { body, ...rest } = scene.message('1');
    const message = { ...rest, body: `\n{ "Unknown" : [1.0, 1e2, 12345678901234567890],\t${body.slice(1)} ` };
    await scene.publish(message);
    assert.equal((await (await scene.consume()).takeOne()).body, message.body);
  });

  it(`keeps a body of ${maxMessageBytes ?? 1_000_000} bytes, several of them in a batch`, async (scene) => {
    const bytes = maxMessageBytes ?? 1_000_000;
    const messages = [scene.message('1', { bytes }), scene.message('2', { bytes })];
    assert.equal(Buffer.byteLength(messages[0]?.body as string), bytes);
    await scene.publish(...messages);
    const hands = await scene.consume();
    const got = await hands.take(2);
    assert.ok(messages.every((message) => got.some(({ body }) => body === message.body)));
    await hands.settle(...got.map(ack));
  });
}

/** The text that came back, after the body has been compared as it is. */
async function roundTrip(scene: Scene, message: ReturnType<Scene['message']>): Promise<unknown> {
  await scene.publish(message);
  const hands = await scene.consume();
  const { body } = await hands.takeOne();
  assert.equal(body, message.body);
  return decodeSignature(body).args?.[0]?.value;
}
