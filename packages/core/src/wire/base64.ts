// Checks base64 the way Go's base64.StdEncoding does, since Buffer.from skips whatever it does not know. Used by
// `argument-types.ts` for `[]byte`.

const wellFormed = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Where Go finds that `text` is not padded standard base64; undefined when it is. Line breaks are skipped. */
export function base64ErrorOffset(text: string): number | undefined {
  // The regular expression's backtracking stack is bounded by the engine, so long texts are scanned.
  if (text.length < 10_000 && wellFormed.test(text)) return undefined;
  let digits = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x0a || code === 0x0d) continue;
    if (code === 0x3d) return paddingErrorOffset(text, i, digits % 4);
    if (!isDigit(code)) return i;
    digits++;
  }
  // Go: the offset of the incomplete quantum, counted back from the end of the input.
  return digits % 4 === 0 ? undefined : text.length - (digits % 4);
}

function paddingErrorOffset(text: string, start: number, digits: number): number | undefined {
  if (digits < 2) return start;
  let end = skipLineBreaks(text, start + 1);
  if (digits === 2) {
    if (end === text.length) return end;
    if (text.charCodeAt(end) !== 0x3d) return end - 1;
    end = skipLineBreaks(text, end + 1);
  }
  return end < text.length ? end : undefined;
}

function skipLineBreaks(text: string, start: number): number {
  let i = start;
  while (text.charCodeAt(i) === 0x0a || text.charCodeAt(i) === 0x0d) i++;
  return i;
}

function isDigit(code: number): boolean {
  return (
    (code >= 0x41 && code <= 0x5a) ||
    (code >= 0x61 && code <= 0x7a) ||
    (code >= 0x30 && code <= 0x39) ||
    code === 0x2b ||
    code === 0x2f
  );
}
