import { script } from '@machinery/redis-client';

/** Takes a lock that nobody holds, or whose time has passed. */
export const acquire = script(
  1,
  `
-- KEYS    1 the lock
-- ARGV    1 until when to hold it, 2 the time now (both in Unix nanoseconds), 3 the same span in milliseconds
-- RETURNS 1 taken, 0 held, or what is there and is no time
-- ATOMIC BECAUSE of two that find the time of a holder passed only one may take the lock over
local held = redis.call('GET', KEYS[1])
if held then
  if not held:match('^%d+$') then return held end
  -- Numbers of Lua have 53 bits: compared as digits.
  local now = ARGV[2]
  if #held > #now or (#held == #now and held >= now) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 1
`,
);
