// What @machinery/core exports, in the order of a task's flow.

// Tasks and their types.

export {
  type ArgsIn,
  type ArgsOut,
  type ArgsSpec,
  type CompleteSignature,
  defineTask,
  type Gives,
  type HandlerOf,
  type PlainSignature,
  type Result,
  type Returned,
  type ReturnsSpec,
  type SignatureOptions,
  type Slot,
  type StepOptions,
  type Takes,
  type TakesAfter,
  type TaskDefaults,
  type TaskDefinition,
  type TaskSignature,
} from './task.ts';
export {
  type AnyType,
  bigInt64,
  bigUint64,
  bool,
  bytes,
  float32,
  float64,
  int,
  int8,
  int16,
  int32,
  int64,
  json,
  type Rest,
  rest,
  slice,
  string,
  type Type,
  uint,
  uint8,
  uint16,
  uint32,
  uint64,
} from './task-types.ts';
export type { WireType } from './wire/argument-types.ts';

// Workflows.

export {
  type AnyWorkflow,
  type Chain,
  type Chord,
  type ChordCallback,
  chain,
  chord,
  type Group,
  type GroupMember,
  group,
  type Step,
  type Workflow,
} from './workflow.ts';
export {
  ChainResult,
  ChordResult,
  GroupResult,
  type Progress,
  type Settled,
  type StepResult,
  type WorkflowResult,
} from './workflow-result.ts';
export type { WorkflowOptions } from './workflow-sender.ts';

// Sending.

export type { PrePublishHandler } from './sender.ts';
export { type SendOptions, Server, type ServerOptions } from './server.ts';
export type { Arg, Signature } from './signature.ts';

// Sending periodically.

export type { Periodic, PeriodicEntry, PeriodicOptions, PeriodicScheduler } from './periodic.ts';

// Running.

export type { AdapterHealth, ServerHealth, WorkerHealth } from './health.ts';
export type { HandlerOptions, PlainTask, RegisteredTask } from './registry.ts';
export type { Backoff, BackoffFunction } from './retry.ts';
export { currentTask, type TaskContext } from './task-context.ts';
export { Worker, type WorkerOptions } from './worker.ts';

// Results and errors.

export { AsyncResult, type GetOptions } from './async-result.ts';
export {
  errorText,
  GroupSendError,
  MachineryError,
  type MachineryErrorCode,
  NotSupportedError,
  RetryLater,
  type SentTask,
  TaskFailedError,
  UnrecoverableError,
  type UnsentTask,
} from './errors.ts';

// The contracts.

export type { Ended } from './attempt.ts';
export type { Backend, BackendCapabilities, ChordClaim, StateGroup, StateWrite, TakenGroup } from './backend.ts';
export type {
  Broker,
  BrokerCapabilities,
  BrokerEnvironment,
  ConsumeOptions,
  Consumer,
  Delivery,
  Message,
  Send,
  Settlement,
} from './broker.ts';
export type { Alarm, Clock } from './clock.ts';
export type { Lock } from './lock.ts';
export { consoleLogger, type Logger, type StructuredLog, silentLogger, structuredLogger } from './logger.ts';
export type { Metric, MetricAttributes, Receipt, Sending, Telemetry } from './telemetry.ts';

// What adapters need of core.

export { type ContractVersion, contractVersion } from './contract-version.ts';
export {
  boolean as booleanOption,
  type Check,
  checkOptions,
  fn as functionOption,
  integer as integerOption,
  number as numberOption,
  object as objectOption,
  oneOf as oneOfOption,
  optional as optionalOption,
  string as stringOption,
} from './options.ts';
export { failed, type Outcome, stored } from './outcome.ts';
export {
  type GroupMeta,
  isFinal,
  isSameSend,
  mergeState,
  type StateName,
  type TaskResult,
  type TaskState,
} from './task-state.ts';
export { UnderWay } from './under-way.ts';
export { decodeSignature, encodeSignature, encodeSignatureCanonical } from './wire/signature-codec.ts';
export {
  decodeGroupMeta,
  decodeState,
  encodeGroupMeta,
  encodeGroupMetaCanonical,
  encodeState,
  encodeStateCanonical,
} from './wire/state-codec.ts';
