// What the server does as one step. The keys of a queue have one slot: the list, which Go knows, and ours beside it (`keys.ts`).
// The in-flight hash holds what workers have in hand, in batches as they were taken, by numbers that are never used again: what
// is done at once costs one field, however many messages it is. A script that fails halfway (a key of ours that somebody made
// another type) is not rolled back: so what is moved is written first and removed then.

import { script } from '@machinery/redis-client';

/** How long a batch may become by another message, in bytes: it is written again when a part of it is done. */
const batchLength = 8_192;

const clock = `
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
`;

/** What the scripts that move messages share. */
const common = `${clock}
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
-- A batch as it is stored: the place of its first message, then for each message its body; or its place and its body, where
-- it has another place; or false once it is settled. nil for what is none.
local function batchOf(value)
  local ok, batch = pcall(cmsgpack.unpack, value)
  if ok and type(batch) == 'table' and type(batch[1]) == 'number' then return batch end
end
-- Place and body of its message number i; nil if that is settled.
local function messageOf(batch, i)
  local message = batch[i + 1]
  if type(message) == 'table' then return message[1], message[2] end
  if message then return batch[1] + i - 1, message end
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
    redis.call('ZADD', front, string.format('%.0f', entry[1]), entry[2])
    redis.call('LPUSH', queue, entry[2])
  end
  redis.call('EXPIRE', front, 604800)
end
-- Puts back what a blocking command has moved for a worker that does not take it.
local function fromIntake(queue, intake, front, sequence)
  local entries = {}
  for _, body in ipairs(redis.call('LRANGE', intake, 0, -1)) do
    entries[#entries + 1] = { placeOf(body, front, sequence), body }
  end
  toFront(queue, front, entries)
  redis.call('DEL', intake)
end
-- Puts back, as redeliveries, what is in the hands of workers that the registry does not know. Returns their names.
local function recover(queue, inflight, workers, deliveries, front)
  local known, gone, names, entries, fields = {}, {}, {}, {}, {}
  for _, worker in ipairs(redis.call('ZRANGE', workers, 0, -1)) do known[worker] = true end
  for _, field in ipairs(redis.call('HKEYS', inflight)) do
    local worker = field:match('^(.*):%d+$')
    local batch = worker and not known[worker] and batchOf(redis.call('HGET', inflight, field))
    if batch then
      if not gone[worker] then names[#names + 1] = worker end
      gone[worker] = true
      for i = 1, #batch - 1 do
        local place, body = messageOf(batch, i)
        if body then
          entries[#entries + 1] = { place, body }
          note(body, deliveries, 1)
        end
      end
      fields[#fields + 1] = field
    end
  end
  toFront(queue, front, entries)
  for _, field in ipairs(fields) do redis.call('HDEL', inflight, field) end
  return names
end
`;

/** Stores the PENDING states of tasks, and publishes their messages. */
export const send = script(
  1, // and the states
  `
-- KEYS    1 the queue, or the sorted set of what is delayed; then the states
-- ARGV    1 RPUSH or ZADD, 2 for how many seconds to keep the states; their texts; the messages, for ZADD each after its score
-- RETURNS nothing
-- ATOMIC BECAUSE one call costs less than two; what counts is that states come before messages
local n = #KEYS - 1
for i = 1, n do redis.call('SET', KEYS[i + 1], ARGV[i + 2], 'EX', ARGV[2]) end
redis.call(ARGV[1], KEYS[1], unpack(ARGV, n + 3))
`,
);

/** Settles what is done, and takes up to as many messages as there are free slots. */
export const exchange = script(
  9,
  `${common}
-- KEYS    1 queue, 2 intake, 3 in flight, 4 workers, 5 deliveries, 6 dead, 7 requeued, 8 front, 9 sequence
-- ARGV    1 worker, 2 its lease in ms, 3 how many to take, 4 the number of the first batch, 5 1: from the intake, too,
--         6 how many dead to keep, 7 how many batches are done to their last message, their numbers,
--         then for each other settlement: kind, number of its batch, place in it, detail
-- RETURNS 1 if the registry knew the worker, else 0; the sizes of the batches that were taken; how often each message was lost
--         (-1: never), nothing where that needs no look; the messages
-- ATOMIC BECAUSE a message is always in one place, whatever dies
local worker, first, inflight = ARGV[1], tonumber(ARGV[4]), KEYS[3]
local known = redis.call('ZSCORE', KEYS[4], worker)
if not known then redis.call('ZADD', KEYS[4], now() + ARGV[2], worker) end
local function field(number) return worker .. ':' .. number end

-- Nothing was lost or put to the front of late: bodies need no look.
local plain = redis.call('EXISTS', KEYS[5], KEYS[8]) == 0

local done = tonumber(ARGV[7])
if done > 0 then
  local fields = {}
  for i = 1, done do fields[i] = field(ARGV[7 + i]) end
  if not plain then
    for _, value in ipairs(redis.call('HMGET', inflight, unpack(fields))) do
      local batch = value and batchOf(value) or {}
      for i = 1, #batch - 1 do
        local _, body = messageOf(batch, i)
        if body then redis.call('HDEL', KEYS[5], redis.sha1hex(body)) end
      end
    end
  end
  redis.call('HDEL', inflight, unpack(fields))
end

local front, open, numbers = {}, {}, {}
if #ARGV > 7 + done then
  -- What fails, fails before anything is moved
  for _, key in ipairs({ KEYS[1], KEYS[6] }) do redis.call('LLEN', key) end
  for _, key in ipairs({ KEYS[7], KEYS[8] }) do redis.call('ZCARD', key) end
  for _, key in ipairs({ inflight, KEYS[5] }) do redis.call('HLEN', key) end
  redis.call('HDEL', inflight, '') -- a server that is full lets only a script go on that has written
end
for at = 8 + done, #ARGV, 4 do
  local kind, number, i, detail = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3]
  if open[number] == nil then
    local value = redis.call('HGET', inflight, field(number))
    open[number] = value and batchOf(value) or false
    if open[number] then numbers[#numbers + 1] = number end
  end
  local batch = open[number]
  local place, body
  if batch then place, body = messageOf(batch, i) end
  if body then
    if kind == 'front' then
      plain = false
      front[#front + 1] = { place, body }
      if detail == 'begun' then note(body, KEYS[5], 0) end
    elseif kind == 'back' and detail == '0' then
      redis.call('RPUSH', KEYS[1], body)
    elseif kind == 'back' then
      redis.call('ZADD', KEYS[7], now() + detail, field(number) .. ':' .. i .. ' ' .. body)
    else
      if kind == 'dead' then
        redis.call('RPUSH', KEYS[6], cjson.encode({ body = body, reason = detail, at = now() }))
        redis.call('LTRIM', KEYS[6], -ARGV[6], -1)
      end
      if not plain or kind == 'dead' then redis.call('HDEL', KEYS[5], redis.sha1hex(body)) end
    end
    batch[i + 1] = false
  end
end
toFront(KEYS[1], KEYS[8], front)
for _, number in ipairs(numbers) do
  local batch, name = open[number], field(number)
  local isOver = true
  for i = 2, #batch do isOver = isOver and not batch[i] end
  if isOver then redis.call('HDEL', inflight, name)
  else redis.call('HSET', inflight, name, cmsgpack.pack(batch)) end
end

local want, sizes, times = tonumber(ARGV[3]), {}, {}
local reply = { known and 1 or 0, sizes, times }
if want == 0 then return reply end
-- What fails, fails before anything is taken
if ARGV[5] == '1' then redis.call('LLEN', KEYS[1]) end
if not plain then
  redis.call('HLEN', KEYS[5])
  redis.call('ZCARD', KEYS[8])
end
local place = redis.call('INCRBY', KEYS[9], want) - want
local bodies = {}
local function take(list)
  if want <= #bodies then return end
  for _, body in ipairs(redis.call('LPOP', list, want - #bodies) or {}) do bodies[#bodies + 1] = body end
end
if ARGV[5] == '1' then take(KEYS[2]) end
take(KEYS[1])
local function forgetPlaces()
  if #bodies < want and not plain then redis.call('DEL', KEYS[8]) end -- nothing waits that could have one
end
if #bodies == 0 then
  forgetPlaces()
  return reply
end

local entries, batch, bytes = {}, nil, 0
local function store()
  entries[#entries + 1] = field(string.format('%.0f', first + #sizes))
  entries[#entries + 1] = cmsgpack.pack(batch)
  sizes[#sizes + 1] = #batch - 1
end
for i, body in ipairs(bodies) do
  local message = body
  if not plain then
    local kept = redis.call('ZSCORE', KEYS[8], body)
    if kept then
      redis.call('ZREM', KEYS[8], body)
      message = { tonumber(kept), body }
    end
    times[i] = tonumber(redis.call('HGET', KEYS[5], redis.sha1hex(body)) or -1)
  end
  if batch and bytes + #body > ${batchLength} then
    store()
    batch = nil
  end
  if not batch then batch, bytes = { place + i }, 0 end
  batch[#batch + 1] = message
  bytes = bytes + #body
  reply[i + 3] = body
end
store()
forgetPlaces()
local put = redis.pcall('HSET', inflight, unpack(entries))
if type(put) == 'number' then return reply end
for i = #bodies, 1, -1 do redis.call('LPUSH', KEYS[1], bodies[i]) end
return put
`,
);

/** What a worker has in hand as the server sees it. */
export const inHand = script(
  2,
  `${common}
-- KEYS    1 in flight, 2 deliveries
-- ARGV    1 worker
-- RETURNS for each batch: its number, and for each message: its place in the batch, its body and how often it was lost (-1: never)
-- ATOMIC BECAUSE it is one look at both
local reply, prefix = {}, ARGV[1] .. ':'
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local batch = field:sub(1, #prefix) == prefix and batchOf(redis.call('HGET', KEYS[1], field))
  if batch then
    local messages = {}
    for i = 1, #batch - 1 do
      local _, body = messageOf(batch, i)
      if body then
        messages[#messages + 1] = i
        messages[#messages + 1] = body
        messages[#messages + 1] = tonumber(redis.call('HGET', KEYS[2], redis.sha1hex(body)) or -1)
      end
    end
    reply[#reply + 1] = field:sub(#prefix + 1)
    reply[#reply + 1] = messages
  end
end
return reply
`,
);

/** Enters a worker in the registry. */
export const register = script(
  1,
  `${clock}
-- KEYS    1 workers
-- ARGV    1 worker, 2 its lease in ms
-- RETURNS nothing
-- ATOMIC BECAUSE the time is the server's
redis.call('ZADD', KEYS[1], now() + ARGV[2], ARGV[1])
`,
);

/** Renews a worker's lease. */
export const beat = script(
  1,
  `${clock}
-- KEYS    1 workers
-- ARGV    1 worker, 2 its lease in ms
-- RETURNS 1, or 0 if the registry does not know the worker: what it had was taken over
-- ATOMIC BECAUSE the time is the server's
return redis.call('ZADD', KEYS[1], 'XX', 'CH', now() + ARGV[2], ARGV[1])
`,
);

/** Puts back what a blocking command has moved for a worker that does not want it any more. */
export const putBack = script(
  4,
  `${common}
-- KEYS    1 queue, 2 intake, 3 front, 4 sequence
-- RETURNS nothing
-- ATOMIC BECAUSE a message is always in one place
fromIntake(KEYS[1], KEYS[2], KEYS[3], KEYS[4])
`,
);

/** Ends a worker: what it has goes back to its places, as redeliveries. */
export const leave = script(
  7,
  `${common}
-- KEYS    1 queue, 2 intake, 3 in flight, 4 workers, 5 deliveries, 6 front, 7 sequence
-- ARGV    1 worker
-- RETURNS nothing
-- ATOMIC BECAUSE a message is always in one place
redis.call('ZREM', KEYS[4], ARGV[1])
recover(KEYS[1], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
fromIntake(KEYS[1], KEYS[2], KEYS[6], KEYS[7])
`,
);

/** Moves what is due of messages that were put back with a delay. */
const moveRequeuedLua = `
local function moveDue(queue, requeued)
  local due = redis.call('ZRANGEBYSCORE', requeued, '-inf', now(), 'LIMIT', 0, 1000)
  for _, member in ipairs(due) do
    redis.call('RPUSH', queue, member:match('^%S+ (.*)$'))
    redis.call('ZREM', requeued, member)
  end
end
`;

export const moveRequeued = script(
  2,
  `${clock}${moveRequeuedLua}
-- KEYS    1 queue, 2 requeued
-- RETURNS nothing
-- ATOMIC BECAUSE a message is always in one place
moveDue(KEYS[1], KEYS[2])
`,
);

/** Looks for what nobody will go on with: the messages of workers whose lease has run out or whose entry is lost. */
export const scan = script(
  9,
  `${common}${moveRequeuedLua}
-- KEYS    1 queue, 2 intake, 3 in flight, 4 workers, 5 deliveries, 6 front, 7 sequence, 8 requeued, 9 scanned
-- ARGV    1 how often to scan, in ms: one of all workers does
-- RETURNS the workers whose messages were put back
-- ATOMIC BECAUSE a worker that beats meanwhile is not dead, and nobody takes over twice
local time = now()
if math.abs(time - (redis.call('GET', KEYS[9]) or 0)) < ARGV[1] * 0.75 then return {} end
redis.call('SET', KEYS[9], time, 'EX', 604800)
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', time - 1)
local gone = recover(KEYS[1], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
if redis.call('EXISTS', KEYS[2], KEYS[8]) > 0 then
  fromIntake(KEYS[1], KEYS[2], KEYS[6], KEYS[7])
  moveDue(KEYS[1], KEYS[8])
end
return gone
`,
);

const due = `
local t = redis.call('TIME')
local nowUs = t[1] * 1000000 + t[2]
-- A score has 53 bits, so 256 ns are its last digit: never early.
local function dueOnes(...)
  return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', nowUs * 1000 - 256), ...)
end
-- The score of the first that is not due, and in how many ms it is.
local function nextDue()
  local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  if #first == 0 then return '', -1 end
  return first[2], math.max(0, math.ceil((first[2] / 1000 - nowUs) / 1000))
end
`;

/** Moves what is due of the messages that Go and ours delay, soonest first, to the queues that they name. */
export const moveDelayed = script(
  1,
  `${due}
-- KEYS    1 Go's sorted set, scores in Unix nanoseconds; the queues are named by the messages
-- ARGV    1 how many at most, 2 the queue of messages that name none, 3 when to try again what cannot be moved, in ms
-- RETURNS how many were due; the score of the next, and in how many ms it is due (-1: there is none); why one could not be moved
-- ATOMIC BECAUSE a message is always in one place
local bodies, moved, refused = dueOnes('LIMIT', 0, ARGV[1]), {}, ''
for _, body in ipairs(bodies) do
  local queue = body:match('^{"UUID":"[^"\\\\]*","Name":"[^"\\\\]*","RoutingKey":"([^"\\\\]*)"')
  if not queue then
    local ok, message = pcall(cjson.decode, body)
    queue = ok and type(message) == 'table' and message.RoutingKey
  end
  if type(queue) ~= 'string' or queue == '' then queue = ARGV[2] end
  local pushed = redis.pcall('RPUSH', queue, body)
  if type(pushed) == 'number' then
    moved[#moved + 1] = body
  elseif pushed.err:find('^OOM') then
    if #moved == 0 then return pushed end
    break -- none can be moved now
  else
    refused = 'queue ' .. queue .. ': ' .. pushed.err
    redis.call('ZADD', KEYS[1], string.format('%.0f', nowUs * 1000 + ARGV[3] * 1000000), body)
  end
end
if #moved > 0 then redis.call('ZREM', KEYS[1], unpack(moved)) end
local score, ms = nextDue()
return { #bodies, score, ms, refused }
`,
);

/** In a Cluster, where the queues have other slots: lends what is due to somebody who pushes it and then removes it. */
export const lendDelayed = script(
  1,
  `${due}
-- KEYS    1 Go's sorted set
-- ARGV    1 how many at most, 2 for how long, in ms
-- RETURNS the messages, each followed by its score; the score of the next, and in how many ms it is due (-1: there is none)
-- ATOMIC BECAUSE two would lend the same
local lent = dueOnes('WITHSCORES', 'LIMIT', 0, ARGV[1])
local lentUntil = string.format('%.0f', nowUs * 1000 + ARGV[2] * 1000000)
for i = 1, #lent, 2 do redis.call('ZADD', KEYS[1], lentUntil, lent[i]) end
local score, ms = nextDue()
return { lent, score, ms }
`,
);
