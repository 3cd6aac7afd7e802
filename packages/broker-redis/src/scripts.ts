// What the server does as one step. The keys of a queue have one slot: the list, which Go knows, and ours beside it (`keys.ts`).
// An in-flight hash holds what a worker has in hand, by numbers that are never used again; its intake list holds what a blocking
// command has moved for it.

import { script } from '@machinery/redis-client';

/** What the scripts share: to be in front of each. */
const common = `
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
-- Notes that a message is a redelivery; \`by\` is 1 when it was lost with its worker.
local function note(body, deliveries, by)
  redis.call('HINCRBY', deliveries, redis.sha1hex(body), by)
  redis.call('EXPIRE', deliveries, 604800)
end
-- A message's place in the queue: kept from when it was first taken, among those that were put to the front.
local function placeOf(body, front, sequence)
  local place = redis.call('ZSCORE', front, body)
  if place then redis.call('ZREM', front, body) end
  return tonumber(place or redis.call('INCR', sequence))
end
local function split(value)
  local place, body = value:match('^(%S+) (.*)$')
  return tonumber(place), body
end
-- Puts messages back to their places, also among those that others have put back.
local function toFront(queue, front, entries)
  if #entries == 0 then return end
  while true do
    local head = redis.call('LINDEX', queue, 0)
    local place = head and redis.call('ZSCORE', front, head)
    if not place then break end
    redis.call('LPOP', queue)
    entries[#entries + 1] = { tonumber(place), head }
  end
  table.sort(entries, function(a, b) return a[1] > b[1] end)
  for _, entry in ipairs(entries) do
    redis.call('LPUSH', queue, entry[2])
    redis.call('ZADD', front, string.format('%.0f', entry[1]), entry[2])
  end
  redis.call('EXPIRE', front, 604800)
end
-- All that a worker has: what it was given are redeliveries.
local function giveBack(queue, inflight, intake, deliveries, front, sequence)
  local entries = {}
  for _, value in ipairs(redis.call('HVALS', inflight)) do
    local place, body = split(value)
    entries[#entries + 1] = { place, body }
    note(body, deliveries, 1)
  end
  for _, body in ipairs(redis.call('LRANGE', intake, 0, -1)) do
    entries[#entries + 1] = { placeOf(body, front, sequence), body }
  end
  redis.call('DEL', inflight, intake)
  toFront(queue, front, entries)
end
`;

/** Settles what is done, and takes up to as many messages as there are free slots. */
export const exchange = script(
  9,
  `${common}
-- KEYS    1 queue, 2 in flight, 3 intake, 4 workers, 5 deliveries, 6 dead, 7 requeued, 8 front, 9 sequence
-- ARGV    1 worker, 2 its lease in ms, 3 how many to take, 4 the number of the first, 5 how many dead to keep,
--         then for each settlement: kind, number, detail
-- RETURNS number, body and how often it was lost (-1: never) of each message taken
-- ATOMIC BECAUSE a message is always in one place, whatever dies
redis.call('ZADD', KEYS[4], now() + ARGV[2], ARGV[1])
local counted = redis.call('EXISTS', KEYS[5]) == 1
local front = {}
for i = 6, #ARGV, 3 do
  local kind, id, detail = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if kind == 'ack' and not counted then
    redis.call('HDEL', KEYS[2], id)
  else
    local value = redis.call('HGET', KEYS[2], id)
    if value then
      local place, body = split(value)
      redis.call('HDEL', KEYS[2], id)
      if kind == 'ack' then
        redis.call('HDEL', KEYS[5], redis.sha1hex(body))
      elseif kind == 'front' then
        front[#front + 1] = { place, body }
        if detail == 'begun' then note(body, KEYS[5], 0) end
      elseif kind == 'back' and detail == '0' then
        redis.call('RPUSH', KEYS[1], body)
      elseif kind == 'back' then
        redis.call('ZADD', KEYS[7], now() + detail, ARGV[1] .. ' ' .. id .. ' ' .. body)
      else
        redis.call('RPUSH', KEYS[6], cjson.encode({ body = body, reason = detail, at = now() }))
        redis.call('LTRIM', KEYS[6], -ARGV[5], -1)
      end
    end
  end
end
toFront(KEYS[1], KEYS[8], front)

local want, id, taken = tonumber(ARGV[3]), tonumber(ARGV[4]), {}
counted = redis.call('EXISTS', KEYS[5]) == 1
local placed = redis.call('EXISTS', KEYS[8]) == 1
local function take(list)
  if want <= 0 then return end
  local bodies = redis.call('LPOP', list, want)
  if not bodies then return end
  want = want - #bodies
  local last = redis.call('INCRBY', KEYS[9], #bodies)
  for i, body in ipairs(bodies) do
    local place = last - #bodies + i
    if placed then
      local old = redis.call('ZSCORE', KEYS[8], body)
      if old then
        redis.call('ZREM', KEYS[8], body)
        place = tonumber(old)
      end
    end
    redis.call('HSET', KEYS[2], id, string.format('%.0f ', place) .. body)
    local times = counted and redis.call('HGET', KEYS[5], redis.sha1hex(body))
    taken[#taken + 1] = id
    taken[#taken + 1] = body
    taken[#taken + 1] = times and tonumber(times) or -1
    id = id + 1
  end
end
take(KEYS[3])
take(KEYS[1])
return taken
`,
);

/** Puts back what a blocking command has moved for a worker that does not want it any more. */
export const putBack = script(
  4,
  `${common}
-- KEYS    1 queue, 2 intake, 3 front, 4 sequence
-- RETURNS nothing
-- ATOMIC BECAUSE a message is always in one place
local entries = {}
for _, body in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
  entries[#entries + 1] = { placeOf(body, KEYS[3], KEYS[4]), body }
end
redis.call('DEL', KEYS[2])
toFront(KEYS[1], KEYS[3], entries)
`,
);

/** Ends a worker: what it has goes back to its places, as redeliveries. */
export const leave = script(
  7,
  `${common}
-- KEYS    1 queue, 2 in flight, 3 intake, 4 deliveries, 5 front, 6 sequence, 7 workers
-- ARGV    1 worker
-- RETURNS nothing
-- ATOMIC BECAUSE a message is always in one place
giveBack(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
redis.call('ZREM', KEYS[7], ARGV[1])
`,
);

/** Ends workers whose lease has run out. */
export const takeOver = script(
  5,
  `${common}
-- KEYS    1 queue, 2 deliveries, 3 front, 4 sequence, 5 workers; the keys of each dead worker are of the same slot
-- ARGV    1 and 2 what they begin with: in flight, intake
-- RETURNS the dead workers
-- ATOMIC BECAUSE one of all that scan may take over, and a worker that beats meanwhile is not dead
local dead = redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', now() - 1)
for _, worker in ipairs(dead) do
  giveBack(KEYS[1], ARGV[1] .. worker, ARGV[2] .. worker, KEYS[2], KEYS[3], KEYS[4])
  redis.call('ZREM', KEYS[5], worker)
end
return dead
`,
);

/** Moves what is due of messages that were put back with a delay. */
export const moveRequeued = script(
  2,
  `${common}
-- KEYS    1 queue, 2 delayed
-- RETURNS how many were moved
-- ATOMIC BECAUSE a message is always in one place
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now(), 'LIMIT', 0, 100)
for _, member in ipairs(due) do
  redis.call('RPUSH', KEYS[1], member:match('^%S+ %S+ (.*)$'))
  redis.call('ZREM', KEYS[2], member)
end
return #due
`,
);

/** Moves what is due of the messages that Go and ours delay, soonest first, to the queues that they name. */
export const moveDelayed = script(
  1,
  `
-- KEYS    1 Go's sorted set, scores in Unix nanoseconds; the queues are named by the messages
-- ARGV    1 the queue of messages that name none, 2 how many at most
-- RETURNS how many were moved, and in how many ms the next is due (-1: there is none)
-- ATOMIC BECAUSE a message is always in one place
local t = redis.call('TIME')
local nowUs = t[1] * 1000000 + t[2]
-- A score has 53 bits, so 256 ns are its last digit: never early.
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', nowUs * 1000 - 256), 'LIMIT', 0, ARGV[2])
for _, body in ipairs(due) do
  local ok, message = pcall(cjson.decode, body)
  local queue = ok and type(message) == 'table' and message.RoutingKey
  if type(queue) ~= 'string' or queue == '' then queue = ARGV[1] end
  redis.call('RPUSH', queue, body)
  redis.call('ZREM', KEYS[1], body)
end
local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if #next == 0 then return { #due, -1 } end
return { #due, math.max(0, math.ceil((next[2] / 1000 - nowUs) / 1000)) }
`,
);
