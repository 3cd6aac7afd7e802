// A config as logs may show it.

import type { Config } from './config.ts';

const hidden = '***';

/** Users and passwords of URLs are left out; whatever else is secret is, too. */
export function withoutSecrets(config: Config): Config {
  const { sentinelPassword } = config.redis;
  return {
    ...config,
    broker: withoutUsers(config.broker),
    lock: withoutUsers(config.lock),
    resultBackend: withoutUsers(config.resultBackend),
    redis: { ...config.redis, sentinelPassword: sentinelPassword === '' ? '' : hidden },
  };
}

/** A password may hold anything: all before the last `@` goes, that of several URLs, too. */
function withoutUsers(url: string): string {
  return url.replace(/^([\w+.-]+:\/\/)?.*@/s, `$1${hidden}@`);
}
