// A signature is a task's name with its arguments and what shall happen around it: the unit that travels. These are
// plain immutable data; `wire/signature-codec.ts` reads and writes them as Go Machinery's JSON, `task.ts` makes typed ones.

/** An argument: its Go type and its value as JSON holds it (`[]byte` as base64, integers beyond 2^53 as bigint). */
export interface Arg {
  readonly name?: string;
  readonly type: string;
  readonly value: unknown;
}

/** One call of a task. Only `name` is required; what is absent has Go's zero value. */
export interface Signature {
  /** Names the stored state. Set when sent, where absent: `task_<uuid v4>`. */
  readonly uuid?: string;
  readonly name: string;
  /** The queue (on AMQP: the routing key). Empty or absent: the server's default queue. */
  readonly routingKey?: string;
  /** Not before this time: a Date, or RFC 3339 text in UTC with up to nine fractional digits, which is what a received one has. */
  readonly eta?: Date | string;
  readonly groupUuid?: string;
  readonly groupTaskCount?: number;
  readonly args?: readonly Arg[];
  /** Travel with the task through retries, on Go workers too. Names starting with `machinery-` are this project's. */
  readonly headers?: Readonly<Record<string, unknown>>;
  /** 0 to 255; only AMQP has priorities, on queues declared with `x-max-priority`. */
  readonly priority?: number;
  /** Go: the results of this task are not appended to the arguments of its `onSuccess` tasks. */
  readonly immutable?: boolean;
  /** How many more times a failed attempt is tried again. */
  readonly retryCount?: number;
  /** Seconds that the attempt before waited; the next wait is the next Fibonacci number above it. */
  readonly retryTimeout?: number;
  /** Sent after success, each with the results appended to its arguments (see `immutable`). */
  readonly onSuccess?: readonly Signature[];
  /** Sent after failure, each with the error's text as its first argument. */
  readonly onError?: readonly Signature[];
  /** Sent once by the last member of a group, when all of them succeeded. */
  readonly chordCallback?: Signature;
  /** SQS FIFO queues: the message group. */
  readonly brokerMessageGroupId?: string;
  /** SQS: set by the consumer. */
  readonly sqsReceiptHandle?: string;
  /** SQS: leave a failed task's message to the queue's own dead-letter policy. */
  readonly stopTaskDeletionOnError?: boolean;
  /** A worker without this task drops the message instead of putting it back. */
  readonly ignoreWhenTaskNotRegistered?: boolean;
}

/** How deep callbacks may nest. A chain of n tasks nests n - 1 deep. */
export const maxCallbackDepth = 1_000;
