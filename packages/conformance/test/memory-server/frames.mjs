// What travels between server.mjs and adapters.mjs: frames of four bytes of length and a value by v8.serialize. Errors
// travel as their code and message, as v8 would drop the code.

import { deserialize, serialize } from 'node:v8';
import { MachineryError } from '@machinery/core';

export function frame(value) {
  const body = serialize(value);
  const length = Buffer.allocUnsafe(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
}

/** Calls `onValue` with each value that arrives on `socket`. */
export function readFrames(socket, onValue) {
  let rest = Buffer.alloc(0);
  socket.on('data', (data) => {
    rest = Buffer.concat([rest, data]);
    while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32BE()) {
      const end = 4 + rest.readUInt32BE();
      onValue(deserialize(rest.subarray(4, end)));
      rest = rest.subarray(end);
    }
  });
}

export function packError({ code = 'ERR_MACHINERY_BROKER_FAILED', message }) {
  return { code, message };
}

export function unpackError({ code, message }) {
  return new MachineryError(code, message);
}
