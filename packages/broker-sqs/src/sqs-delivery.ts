// A message in a consumer's hands.

import type { Message as SqsMessage } from '@aws-sdk/client-sqs';
import type { Delivery } from '@machinery/core';
import type { Attributes } from './bodies.ts';
import { dueAtAttribute, redeliveredAttribute } from './entries.ts';

export class SqsDelivery implements Delivery {
  readonly body: string;
  readonly redelivered: boolean;
  /** Absent on FIFO queues, where what a worker does not know comes again and again until one does: that must not make it a failure. */
  readonly deliveryCount?: number;
  readonly receiptHandle: string;
  readonly messageId: string;
  /** Of a FIFO queue. */
  readonly groupId: string | undefined;
  readonly attributes: Attributes;
  /** How often it was received, by whomever. */
  readonly receiveCount: number;
  /** It must not be handed out before, Unix milliseconds. */
  readonly dueAtMs: number;
  /** When it was taken, when it was last taken or renewed, and until when it is hidden from others, by performance.now(). */
  readonly receivedAt = performance.now();
  renewedAt = this.receivedAt;
  hiddenUntil: number;
  /** It is being settled. */
  isLeaving = false;
  /** A copy is stored in its place: all there is to do is to delete it. */
  isReplaced = false;

  constructor(
    { Body = '', ReceiptHandle, MessageId, Attributes = {}, MessageAttributes = {} }: SqsMessage,
    hiddenMs: number,
  ) {
    const { ApproximateReceiveCount = '1', MessageGroupId } = Attributes;
    this.body = Body;
    this.receiptHandle = ReceiptHandle as string;
    this.messageId = MessageId as string;
    this.groupId = MessageGroupId;
    this.attributes = MessageAttributes;
    this.receiveCount = Number(ApproximateReceiveCount);
    this.redelivered = this.receiveCount > 1 || redeliveredAttribute in MessageAttributes;
    if (MessageGroupId === undefined) this.deliveryCount = this.receiveCount;
    const { StringValue } = MessageAttributes[dueAtAttribute] ?? {};
    this.dueAtMs =
      (StringValue === undefined && MessageGroupId === undefined ? goEtaMs(Body) : Number(StringValue)) || 0;
    this.hiddenUntil = this.renewedAt + hiddenMs;
  }
}

/** What Go sends comes up to a second early. Go: Signature, whose first fields these are. */
function goEtaMs(body: string): number {
  const [, eta = ''] = /^\{"UUID":"[^"\\]*","Name":"[^"\\]*","RoutingKey":"[^"\\]*","ETA":"([^"\\]*)"/.exec(body) ?? [];
  return Date.parse(eta);
}
