// Publishes messages to topics: those of one topic together, as many as a request may hold. Nothing is published again that
// may be stored. A request has messages of one ordering key, or of none; those of one key go one after the other, as the server takes them
// in the order in which they arrive.

import { failed, MachineryError, type Outcome, stored } from '@machinery/core';
import type { Clients } from './clients.ts';
import { didNothing, isMissing, pubsubError } from './errors.ts';
import { isOrderingKeyTooLong, type PubsubMessage } from './messages.ts';

/** The server's limits of a request. */
const maxMessages = 1_000;
const maxRequestBytes = 9_999_000;
/** What surrounds a message in a request, more than it can be. */
const framingBytes = 100;

/** The largest body: attributes, an ordering key and the topic's name are in the same request. */
export const maxMessageBytes = 9_990_000;

export interface Sending {
  /** `projects/<project>/topics/<name>` */
  readonly topic: string;
  readonly message: PubsubMessage;
  /** The task, for errors. */
  readonly what: string;
  /** Called when the topic does not exist; absent: that is an error. */
  readonly create?: (() => Promise<void>) | undefined;
}

/** A place in the list of outcomes. */
interface Placed extends Sending {
  readonly place: number;
}

export class Publisher {
  readonly #clients: Clients;
  /** The last request of an ordering key, by topic and key. */
  readonly #last = new Map<string, Promise<unknown>>();

  constructor(clients: Clients) {
    this.#clients = clients;
  }

  /** One outcome for each, in their order. Never rejects. */
  async send(sendings: readonly Sending[]): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    const take = (part: readonly Placed[], outcome: (one: Placed) => Outcome) => {
      for (const one of part) outcomes[one.place] = outcome(one);
    };
    const placed = sendings.map((sending, place) => ({ ...sending, place }));
    const isRefused = (one: Placed) => refusal(one) !== undefined;
    const fit = placed.filter((one) => !isRefused(one));
    take(placed.filter(isRefused), (one) => failed(refusal(one) as Error, false));
    const sends: Promise<void>[] = [];
    for (const [line, part] of groupBy(fit, lineOf)) {
      if (part[0]?.message.orderingKey) sends.push(this.#inOrder(line, part, take));
      else
        for (const request of requestsOf(part))
          sends.push(this.#request(request).then((outcome) => take(request, () => outcome)));
    }
    await Promise.all(sends);
    return outcomes;
  }

  /** What comes after a request that failed is not sent: it would overtake. */
  #inOrder(
    line: string,
    ordered: readonly Placed[],
    take: (part: readonly Placed[], outcome: () => Outcome) => void,
  ): Promise<void> {
    const sending = (this.#last.get(line) ?? Promise.resolve()).then(async () => {
      let outcome = stored;
      for (const request of requestsOf(ordered)) {
        if (outcome === stored) outcome = await this.#request(request);
        else outcome = failed((outcome as { readonly error: Error }).error, true);
        const given = outcome;
        take(request, () => given);
      }
      if (this.#last.get(line) === sending) this.#last.delete(line);
    });
    this.#last.set(line, sending);
    return sending;
  }

  async #request(request: readonly Placed[]): Promise<Outcome> {
    const { topic, create } = request[0] as Placed;
    const messages = request.map(({ message }) => message);
    const publish = () =>
      this.#clients.call(`publish to ${topic}`, ({ publisher }, options) =>
        publisher.publish({ topic, messages }, options),
      );
    try {
      await publish().catch(async (error) => {
        if (create === undefined || !isMissing(error)) throw error;
        await create();
        await publish();
      });
      return stored;
    } catch (cause) {
      const error = pubsubError(`publish to ${topic}`, cause);
      if (!didNothing(error)) return { status: 'unknown', error };
      return failed(error, MachineryError.is(error, 'ERR_MACHINERY_BROKER_UNAVAILABLE'));
    }
  }
}

/** Why the server would refuse it, and with it all of its request. */
function refusal({ what, topic, message }: Placed): MachineryError | undefined {
  const bytes = message.data?.length ?? 0;
  if (bytes > maxMessageBytes) {
    const text = `${what} has ${bytes} bytes, more than the ${maxMessageBytes} that Pub/Sub takes`;
    return new MachineryError('ERR_MACHINERY_MESSAGE_TOO_LARGE', text);
  }
  if (!isOrderingKeyTooLong(message)) return undefined;
  const text = `${what} for ${topic} has a brokerMessageGroupId of more than 1,024 bytes, which is no ordering key`;
  return new MachineryError('ERR_MACHINERY_BROKER_FAILED', text);
}

/** Its topic and ordering key. */
function lineOf({ topic, message }: Sending): string {
  return `${topic} ${message.orderingKey ?? ''}`;
}

/** As few as the limits of a request allow. */
function requestsOf(sendings: readonly Placed[]): Placed[][] {
  const requests: Placed[][] = [];
  let [request, bytes]: [Placed[], number] = [[], 0];
  for (const sending of sendings) {
    const size = sizeOf(sending);
    if (request.length === 0 || request.length === maxMessages || bytes + size > maxRequestBytes) {
      [request, bytes] = [[], 0];
      requests.push(request);
    }
    request.push(sending);
    bytes += size;
  }
  return requests;
}

function sizeOf({ message: { data, attributes, orderingKey } }: Sending): number {
  const texts = [orderingKey ?? '', ...Object.entries(attributes ?? {}).flat()];
  return texts.reduce((sum, text) => sum + Buffer.byteLength(text), framingBytes + (data?.length ?? 0));
}

function groupBy<T>(items: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group === undefined) groups.set(key(item), [item]);
    else group.push(item);
  }
  return groups;
}
