-- Takes one call from each limit in turn, by the generic cell rate algorithm, until one has no room.
--
-- KEYS: one for each limit. ARGV: for each limit, the microseconds that one call uses up, and those of a whole burst; then
-- `look`, where the call is not to be counted.
-- Answers for each limit how many more calls there is room for at once; last, where there is none, the microseconds to
-- wait, below zero. A key ends when all that was used up is given back, and so is never without an end.
--
-- The time is the server's alone. It is counted from 2026 on, since numbers here have 53 bits, and a microsecond of this
-- century must keep its fractions.
local time = redis.call('TIME')
local now = (time[1] - 1767225600) * 1000000 + time[2]
local answers, look = {}, ARGV[2 * #KEYS + 1] == 'look'
for limit, key in ipairs(KEYS) do
  local each, whole = tonumber(ARGV[2 * limit - 1]), tonumber(ARGV[2 * limit])
  local used = math.max(tonumber(redis.call('GET', key) or 0) - now, 0) + each
  -- What was rounded when it was written must not refuse the last call of a burst.
  if used > whole + 0.01 then
    answers[limit] = -math.ceil(used - whole)
    return answers
  end
  if not look then
    redis.call('SET', key, string.format('%.3f', now + used), 'PX', math.max(math.ceil(used / 1000), 1))
  end
  answers[limit] = math.floor((whole - used) / each + 0.001)
end
return answers
