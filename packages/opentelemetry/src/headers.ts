// The context in a message's headers, as the text that the propagator makes of it.

import type { Signature } from '@machinery/core';
import {
  type Context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  type TextMapGetter,
  type TextMapPropagator,
} from '@opentelemetry/api';

type Headers = NonNullable<Signature['headers']>;

const setter = {
  set(carrier: Record<string, string>, key: string, value: string): void {
    carrier[key] = value;
  },
};

/** Of headers that are not text, nothing is read: whoever writes a context writes text. */
const getter: TextMapGetter<Headers> = {
  keys: (headers) => Object.keys(headers),
  get(headers, key) {
    const value = headers[key];
    return typeof value === 'string' ? value : undefined;
  },
};

/** The headers that say the context. */
export function headersOf(context: Context, propagator: TextMapPropagator | undefined): Record<string, string> {
  const headers: Record<string, string> = {};
  if (propagator === undefined) propagation.inject(context, headers, setter);
  else propagator.inject(context, headers, setter);
  return headers;
}

/** The context of who sent the signature; the root when it says none. */
export function senderContext({ headers = {} }: Signature, propagator: TextMapPropagator | undefined): Context {
  return propagator === undefined
    ? propagation.extract(ROOT_CONTEXT, headers, getter)
    : propagator.extract(ROOT_CONTEXT, headers, getter);
}

/** What links to the span of a context, if there is one. */
export function linksTo(...spans: readonly (Span | SpanContext | undefined)[]): { readonly context: SpanContext }[] {
  return spans.flatMap((span) => {
    if (span === undefined) return [];
    return [{ context: 'spanContext' in span ? span.spanContext() : span }];
  });
}
