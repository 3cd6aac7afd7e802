// Runs the cases one after another and prints a line for each, which equals that of ../go but for the time.

import { errorText, MachineryError, type Server } from '@machinery/core';
import { casesOf } from './cases.ts';

/** @param only names of cases with commas between them; empty: all. Answers how many failed. */
export async function runCases(server: Server, timeoutMs: number, only: string): Promise<number> {
  const wanted = new Set(only.split(',').filter((name) => name !== ''));
  let failed = 0;
  for (const { name, want, run } of casesOf(server, timeoutMs)) {
    if (wanted.size > 0 && !wanted.has(name)) continue;
    const start = performance.now();
    const got = await run().catch((error) => `error: ${failureText(error)}`);
    const ok = got === want;
    if (!ok) failed++;
    console.log(goJson({ case: name, got, ms: Math.floor(performance.now() - start), ok, want }));
  }
  console.log(`${failed} failed`);
  return failed;
}

function failureText(error: unknown): string {
  return MachineryError.is(error, 'ERR_MACHINERY_RESULT_TIMEOUT') ? 'Timeout reached' : errorText(error);
}

/** Go escapes what HTML and JavaScript would read otherwise. */
function goJson(value: object): string {
  const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, escaped);
}
