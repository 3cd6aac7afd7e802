// What the adapters on AMQP share. It is theirs: what is here may change with any release.

export { AmqpChannel, type AmqpChannelOptions, type AmqpConfirmChannel } from './channel.ts';
export { ChannelPool } from './channel-pool.ts';
export { AmqpConnection, type AmqpConnectionOptions, connectionChecks } from './connection.ts';
export { amqpError, isInUse, isMissing, isRefusedArgument, replyCode } from './errors.ts';
export { Publisher, type Sending, Unroutable } from './publisher.ts';
