// An album of pictures: each is resized three times, side by side, and published when all three are there.

import { defineTask, int64, rest, type Server, string } from '@machinery/core';

export const download = defineTask('download', { args: [string], returns: string });
/** What the task before it returns comes last: so the width is first, and `resize.partial(160)` leaves the file open. */
export const resize = defineTask('resize', { args: [int64, string], returns: string });
/** The callback of a chord gets the results of all members, in their order. */
export const publish = defineTask('publish', { args: [string, rest(string)], returns: string });
/** An error callback gets the text of the error. */
export const complain = defineTask('complain', { args: [string], returns: string });

export function register(server: Server): void {
  server.handle(download, (_task, url) => new URL(url).pathname.slice(1));
  server.handle(resize, (_task, width, file) => {
    if (!file.endsWith('.png')) throw new Error(`${file} is no picture`);
    return file.replace('.png', `-${width}.png`);
  });
  server.handle(publish, (_task, album, ...files) => `${album}: ${files.join(', ')}`);
  server.handle(complain, (_task, text) => `Sorry. ${text}`);
}
