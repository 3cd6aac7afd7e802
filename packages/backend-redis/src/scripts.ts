// The steps of the backend that must not be interrupted. A group has two keys of one slot: its meta, as Go knows it, and
// its claim, which says who sends the chord's callback: `member <uuid>`, or `done`.

import { script } from '@machinery/redis-client';
import { largestSaid } from './watches.ts';

/** Stores states as they are, and says on their channels which tasks have ended. */
export const storeStates = script(
  1, // or more
  `
-- KEYS    the states
-- ARGV    1 1 if their ends are said, 2 for how many seconds, then their texts
-- RETURNS nothing
-- ATOMIC BECAUSE one call costs less than many; it need not be
for i, key in ipairs(KEYS) do redis.call('SET', key, ARGV[i + 2], 'EX', ARGV[2]) end
if ARGV[1] == '0' then return end
local said, prefix, texts = {}, nil, nil
for i, key in ipairs(KEYS) do
  if not (prefix and key:find(prefix, 1, true) == 1) then
    -- As \`channelOf\` and \`payloadOf\` (watches.ts) have it
    local at = key:find('_', 1, true)
    local isUuid = at and key:byte(at + 9) == 45
    local name = isUuid and key:sub(at + 1, at + 8) or key
    prefix = isUuid and key:sub(1, at + 9) or nil
    texts = said[name] or {}
    said[name] = texts
  end
  local text = ARGV[i + 2]
  texts[#texts + 1] = #text > ${largestSaid} and key or text
end
for name, payloads in pairs(said) do redis.pcall('PUBLISH', 'machinery:done:' .. name, table.concat(payloads, '\\n')) end
`,
);

/** Stores a state that was merged with what was there. */
export const replaceState = script(
  1,
  `
-- KEYS    1 the state
-- ARGV    1 what was there ('' for nothing), 2 what is to be, 3 for how many seconds
-- RETURNS 1 stored, 0 something else is there by now
-- ATOMIC BECAUSE another worker may have stored a state since this one was read
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
`,
);

const claim = `
-- KEYS    1 the meta, 2 the claim, 3 Go's TriggerChordMutex (not in a Cluster, where it has another slot)
-- ARGV    1 the member's UUID
-- RETURNS claimed, other, done, gone, or busy while a Go worker decides
-- ATOMIC BECAUSE one of any number of members may claim; Go reads the meta and sets its flag while it holds the mutex
local meta = redis.call('GET', KEYS[1])
if not meta then return 'gone' end
local mine = 'member ' .. ARGV[1]
local held = redis.call('GET', KEYS[2])
if held then
  if held == mine then return 'claimed' end
  if held == 'done' then return 'done' end
  return 'other'
end
if meta:find('"ChordTriggered":true', 1, true) then return 'done' end
if KEYS[3] and redis.call('EXISTS', KEYS[3]) == 1 then return 'busy' end
meta = meta:gsub('"ChordTriggered":false', '"ChordTriggered":true', 1)
redis.call('SET', KEYS[1], meta, 'KEEPTTL')
redis.call('SET', KEYS[2], mine)
local ttl = redis.call('PTTL', KEYS[1])
if ttl > 0 then redis.call('PEXPIRE', KEYS[2], ttl) end
return 'claimed'
`;
export const claimChord = script(3, claim);
export const claimChordInCluster = script(2, claim);

/** Writes that the callback is sent. */
export const finishChord = script(
  2,
  `
-- KEYS    1 the meta, 2 the claim
-- RETURNS nothing
-- ATOMIC BECAUSE the claim ends with the meta, and a meta that is gone must not come back
local meta = redis.call('GET', KEYS[1])
if not meta then return end
meta = meta:gsub('"ChordTriggered":false', '"ChordTriggered":true', 1)
redis.call('SET', KEYS[1], meta, 'KEEPTTL')
redis.call('SET', KEYS[2], 'done')
local ttl = redis.call('PTTL', KEYS[1])
if ttl > 0 then redis.call('PEXPIRE', KEYS[2], ttl) end
`,
);
