// Options of Node's TLS from the files that a config names.

import { readFileSync } from 'node:fs';
import { errorText } from '../errors.ts';
import { invalidOption } from '../options.ts';
import type { TlsConfig } from './config.ts';

/** Undefined where nothing is said. */
export function tlsOf(tls: TlsConfig): object | undefined {
  const { caFile, certFile, keyFile, serverName, insecureSkipVerify } = tls;
  const options = {
    ...(caFile !== '' && { ca: read('ca_file', caFile) }),
    ...(certFile !== '' && { cert: read('cert_file', certFile) }),
    ...(keyFile !== '' && { key: read('key_file', keyFile) }),
    ...(serverName !== '' && { servername: serverName }),
    ...(insecureSkipVerify && { rejectUnauthorized: false }),
  };
  return Object.keys(options).length === 0 ? undefined : options;
}

function read(key: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw invalidOption(`tls.${key} cannot be read: ${errorText(error)}`);
  }
}
