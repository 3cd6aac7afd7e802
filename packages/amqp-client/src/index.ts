// What the adapters on AMQP share. It is theirs: what is here may change with any release.

export { AmqpChannel, type AmqpConfirmChannel } from './channel.ts';
export { AmqpConnection, type AmqpConnectionOptions, connectionChecks } from './connection.ts';
export { amqpError, isMissing, isRefusedArgument, replyCode } from './errors.ts';
export { withoutPassword } from './url.ts';
