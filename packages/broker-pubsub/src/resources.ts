// The names of topics and subscriptions, what a subscription says about itself, and, in development, their creation.

import type { protos } from '@google-cloud/pubsub';
import { errorText, type Logger, MachineryError } from '@machinery/core';
import type { Clients } from './clients.ts';
import { isForbidden, isMissing, isThere } from './errors.ts';
import type { PubSubBrokerOptions } from './options.ts';

/** What a consumer takes from. */
export interface Source {
  /** `projects/<project>/subscriptions/<name>` */
  readonly subscription: string;
  /** `projects/<project>/topics/<name>`: what is published there comes to the subscription. */
  readonly topic: string;
  /** How long the server leases what it hands out. */
  readonly ackDeadlineSeconds: number;
  /** The server answers whether a lease is still held. */
  readonly exactlyOnce: boolean;
  /** Of its dead-letter policy. */
  readonly deadTopic: string | undefined;
}

/** The server's own, which the tests of an account without the right to look cannot know better. */
const defaultAckDeadlineSeconds = 10;

export class Resources {
  readonly #clients: Clients;
  readonly #options: PubSubBrokerOptions;
  readonly #defaultQueue: () => string;
  readonly #logger: () => Logger;
  /** By queue. */
  readonly #kept = new Map<string, Promise<void>>();

  constructor(clients: Clients, options: PubSubBrokerOptions, defaultQueue: () => string, logger: () => Logger) {
    this.#clients = clients;
    this.#options = options;
    this.#defaultQueue = defaultQueue;
    this.#logger = logger;
  }

  /** Go: the topic is the routing key. */
  async topicOf(name: string): Promise<string> {
    return this.#path('topics', name);
  }

  /** Rejects when it cannot be consumed. */
  async sourceOf(queue: string): Promise<Source> {
    const [topic, subscription] = [await this.topicOf(queue), await this.#subscriptionOf(queue)];
    let found: protos.google.pubsub.v1.ISubscription;
    try {
      found = await this.#look(subscription);
    } catch (error) {
      if (isMissing(error) && this.#options.createMissing === true) {
        await this.create(queue);
        found = await this.#look(subscription);
      } else if (isForbidden(error)) {
        this.#logger().debug(`Subscription ${subscription} cannot be looked at: ${errorText(error)}`, error);
        found = {};
      } else throw error;
    }
    refuseUnfit(subscription, found);
    if (found.topic && found.topic !== topic)
      this.#logger().warn(`Queue ${queue} is consumed from ${subscription}, which belongs to ${found.topic}`);
    return {
      subscription,
      topic: found.topic || topic,
      ackDeadlineSeconds: found.ackDeadlineSeconds || defaultAckDeadlineSeconds,
      exactlyOnce: found.enableExactlyOnceDelivery === true,
      deadTopic: found.deadLetterPolicy?.deadLetterTopic || undefined,
    };
  }

  /** Sees to it, once, that what is published to a queue is kept: a topic without a subscription keeps nothing. */
  keep(queue: string): Promise<void> {
    const known = this.#kept.get(queue);
    if (known !== undefined) return known;
    const keeping = this.#keep(queue).catch((error) => {
      this.#kept.delete(queue);
      throw error;
    });
    this.#kept.set(queue, keeping);
    return keeping;
  }

  async #keep(queue: string): Promise<void> {
    const topic = await this.topicOf(queue);
    try {
      const subscriptions = await this.#clients.call(`list the subscriptions of ${topic}`, ({ publisher }, options) =>
        publisher.listTopicSubscriptions({ topic, pageSize: 1 }, { ...options, autoPaginate: false }),
      );
      if (subscriptions.length > 0) return;
    } catch (error) {
      if (isForbidden(error)) return;
      if (!isMissing(error)) throw error;
    }
    await this.create(queue);
  }

  /** Creates the topic and the subscription of a queue, as far as they are missing. */
  async create(queue: string): Promise<void> {
    const { leaseSeconds = 60 } = this.#options;
    const [topic, name] = [await this.topicOf(queue), await this.#subscriptionOf(queue)];
    const ackDeadlineSeconds = Math.max(leaseSeconds, defaultAckDeadlineSeconds);
    await unlessThere(
      this.#clients.call(`create ${topic}`, ({ publisher }, o) => publisher.createTopic({ name: topic }, o)),
    );
    await unlessThere(
      this.#clients.call(`create ${name}`, ({ subscriber }, o) =>
        subscriber.createSubscription({ name, topic, ackDeadlineSeconds }, o),
      ),
    );
    this.#logger().info(`Created ${topic} and ${name}`);
  }

  #subscriptionOf(queue: string): Promise<string> {
    const { subscription, subscriptions = {} } = this.#options;
    const own = Object.hasOwn(subscriptions, queue) ? subscriptions[queue] : undefined;
    const ofDefault = queue === this.#defaultQueue() ? subscription : undefined;
    return this.#path('subscriptions', own ?? ofDefault ?? queue);
  }

  #look(subscription: string): Promise<protos.google.pubsub.v1.ISubscription> {
    return this.#clients.call(`look at ${subscription}`, ({ subscriber }, o) =>
      subscriber.getSubscription({ subscription }, o),
    );
  }

  /** A full path is one of another project. */
  async #path(kind: 'topics' | 'subscriptions', name: string): Promise<string> {
    return name.startsWith('projects/') ? name : `projects/${await this.#clients.projectId()}/${kind}/${name}`;
  }
}

function refuseUnfit(name: string, { topic, pushConfig }: protos.google.pubsub.v1.ISubscription): void {
  const why = pushConfig?.pushEndpoint
    ? 'pushes to an endpoint: workers need one that is pulled from'
    : topic === '_deleted-topic_'
      ? 'has lost its topic, which was deleted: delete it, and create both again'
      : undefined;
  if (why !== undefined) throw new MachineryError('ERR_MACHINERY_BROKER_FAILED', `${name} ${why}`);
}

async function unlessThere(creating: Promise<unknown>): Promise<void> {
  await creating.catch((error) => {
    if (!isThere(error)) throw error;
  });
}
