// A proxy in front of SQS that counts requests by their action, and in which a test can answer in place of the service.

import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { SqsServer } from '@machinery/services';
import { onTestFinished } from 'vitest';

export interface Request {
  /** `ReceiveMessage`, say. */
  readonly action: string;
  readonly input: Readonly<Record<string, unknown>> & { readonly Entries?: readonly { readonly Id: string }[] };
}

/**
 * In place of the service's answer; `cut`: the connection ends without one, after the service has had the request; `silence`: there is none;
 * `stall`: it begins, and never ends.
 */
export type Answer =
  | { readonly status: number; readonly body: object; readonly date?: Date }
  | 'cut'
  | 'silence'
  | 'stall';

export class HttpProxy {
  url = '';
  readonly requests: Request[] = [];
  /** Asked for each request. */
  answer: (request: Request) => Answer | undefined = () => undefined;

  count(action: string): number {
    return this.requests.filter((one) => one.action === action).length;
  }

  async handle(target: URL, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const action = String(incoming.headers['x-amz-target']).split('.')[1] ?? '';
    const one: Request = { action, input: JSON.parse(body.toString()) };
    this.requests.push(one);
    const answer = this.answer(one);
    if (answer === 'silence') return;
    if (answer === 'stall') {
      outgoing.writeHead(200, { 'content-type': 'application/x-amz-json-1.0' }).write('{');
      return;
    }
    if (answer !== undefined && answer !== 'cut') {
      const { status, body: content, date = new Date() } = answer;
      outgoing.writeHead(status, { 'content-type': 'application/x-amz-json-1.0', date: date.toUTCString() });
      outgoing.end(JSON.stringify(content));
      return;
    }
    const { method, url: path, headers } = incoming;
    const forwarded = request({ host: target.hostname, port: target.port, method, path, headers }, (response) => {
      if (answer === 'cut') {
        response.resume().once('end', () => outgoing.destroy());
        return;
      }
      outgoing.writeHead(response.statusCode as number, response.headers);
      response.pipe(outgoing);
    });
    forwarded.once('error', () => outgoing.destroy()).end(body);
  }
}

/** Ends with the test. The URLs of queues stay those of the service. */
export async function httpProxy({ url }: SqsServer): Promise<HttpProxy> {
  const proxy = new HttpProxy();
  const server = createServer((incoming, outgoing) => {
    proxy.handle(new URL(url), incoming, outgoing).catch(() => outgoing.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  proxy.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return proxy;
}

/** What SQS answers when it refuses. */
export function refusal(status: number, name: string, message = 'made by the test'): { status: number; body: object } {
  return { status, body: { __type: `com.amazonaws.sqs#${name}`, message } };
}
