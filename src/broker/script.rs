//! The scripts that the broker runs, each as one step: what has to be known and done at once.
//!
//! An epoch is a time in milliseconds, 1024 times over, and something drawn: so none is given twice, and JavaScript holds it
//! exactly until the year 2248. The *floor* is the least epoch that is good on this server. It rises when the server is
//! another process than the one that set it: restarted, or a replica that took over, either of which may have lost what had
//! been acknowledged.

/// Sets the floor for this process of the server, and tells it. `KEYS`: floor. `ARGV`: the server's run id, a number drawn.
pub(super) const FLOOR: &str = "\
local marks = redis.call('HMGET', KEYS[1], 'run', 'floor', 'epoch')
if marks[1] == ARGV[1] and marks[2] then return marks[2] end
local time = redis.call('TIME')
local floor = (time[1] * 1000 + math.floor(time[2] / 1000)) * 1024 + ARGV[2]
floor = math.max(floor, (marks[2] or 0) + 1, (marks[3] or 0) + 1)
local text = string.format('%.0f', floor)
redis.call('HSET', KEYS[1], 'run', ARGV[1], 'floor', text)
return text
";

/// Says that a node is there, and strikes off those that have said nothing for some time; their names. `KEYS`: roll. `ARGV`: the
/// node, how many milliseconds others may say nothing, 0 where nobody is to be struck off.
pub(super) const ROLL: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('PEXPIRE', KEYS[1], 3600000)
if ARGV[2] == '0' then return {} end
local lost = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[2]), 'LIMIT', 0, 64)
for i = 1, #lost do redis.call('ZREM', KEYS[1], lost[i]) end
return lost
";

/// Finds a stream or begins it anew, publishes if something is to be, and tells the last id and the latest entries. `KEYS`:
/// stream, floor. `ARGV`: the least epoch that is good, a number drawn, the topic, milliseconds that the stream is kept
/// unused, how many entries are wanted, and how many bytes of them before no more are added, how many are kept; and a body to be
/// published.
pub(super) const STREAM: &str = "\
local epoch, last
local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
if info.err then
  if not string.find(info.err, 'no such key') then return info end
else
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
  epoch = tonumber(string.match(last, '^%d+'))
end
local marks = redis.call('HMGET', KEYS[2], 'floor', 'epoch')
local least = math.max((marks[1] or 0) + 0, ARGV[1] + 0)
if not epoch or epoch < least then
  local time = redis.call('TIME')
  epoch = (time[1] * 1000 + math.floor(time[2] / 1000)) * 1024 + ARGV[2]
  epoch = math.max(epoch, least, (marks[2] or 0) + 1)
  local text = string.format('%.0f', epoch)
  redis.call('HSET', KEYS[2], 'epoch', text)
  last = text .. '-0'
  redis.call('XADD', KEYS[1], 'MAXLEN', '1', last, 'r', '')
  redis.call('PUBLISH', ARGV[3], 'R' .. text .. ' ')
end
if ARGV[8] then
  local text = string.format('%.0f', epoch)
  last = redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[7] == '0' and '=' or '~', ARGV[7], text .. '-*', 'd', ARGV[8])
  redis.call('PUBLISH', ARGV[3], 'P' .. text .. ' ' .. ARGV[8])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
local wanted, room, entries, before = ARGV[5] + 0, ARGV[6] + 0, {}, '+'
while #entries < wanted and room > 0 do
  local some = redis.call('XREVRANGE', KEYS[1], before, '-', 'COUNT', math.min(wanted - #entries, 16))
  for i = 1, #some do
    if room <= 0 then break end
    entries[#entries + 1] = some[i]
    room = room - #some[i][2][2]
  end
  if #some < 16 then break end
  before = '(' .. some[#some][1]
end
return { last, entries }
";
