export { defineTask, type ArgsIn, type ArgsOut, type ArgsSpec, type CompleteSignature, type Gives, type PlainSignature, type Result, type Returned, type ReturnsSpec, type SignatureOptions, type Slot, type Takes, type TakesAfter, type TaskDefaults, type TaskDefinition, type TaskSignature } from './task.ts';
export { bigInt64, bigUint64, bool, bytes, float32, float64, int, int16, int32, int64, int8, json, rest, slice, string, uint, uint16, uint32, uint64, uint8, type AnyType, type Rest, type Type } from './task-types.ts';
export type { Arg, Signature } from './signature.ts';
export { Server, type SendOptions, type ServerOptions, type Untyped } from './server.ts';
export { AsyncResult, type GetOptions } from './async-result.ts';
export type { Backoff, BackoffFunction } from './retry.ts';
export type { HandlerOptions, PlainTask, RegisteredTask } from './registry.ts';
export { Worker, type WorkerOptions } from './worker.ts';
export { currentTask, type TaskContext } from './task-context.ts';
export { MachineryError, NotSupportedError, RetryLater, TaskFailedError, errorText, type MachineryErrorCode } from './errors.ts';

// The contracts, and what adapters need of core
export { contractVersion, type ContractVersion } from './contract-version.ts';
export { failed, stored, type Outcome } from './outcome.ts';
export type { Broker, BrokerCapabilities, BrokerEnvironment, ConsumeOptions, Consumer, Delivery, Message, Settlement } from './broker.ts';
export type { Backend, BackendCapabilities, ChordClaim, StateWrite } from './backend.ts';
export { isFinal, isSameSend, mergeState, type GroupMeta, type StateName, type TaskResult, type TaskState } from './task-state.ts';
export type { Lock } from './lock.ts';
export { consoleLogger, silentLogger, type Logger } from './logger.ts';
export type { Metric, Telemetry } from './telemetry.ts';
export { boolean as booleanOption, checkOptions, fn as functionOption, integer as integerOption, number as numberOption, object as objectOption, oneOf as oneOfOption, optional as optionalOption, string as stringOption, type Check } from './options.ts';
export { decodeSignature, encodeSignature, encodeSignatureCanonical } from './wire/signature-codec.ts';
export { decodeGroupMeta, decodeState, encodeGroupMeta, encodeGroupMetaCanonical, encodeState, encodeStateCanonical } from './wire/state-codec.ts';
