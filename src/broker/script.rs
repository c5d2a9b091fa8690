//! The scripts that the broker runs, each as one step: what has to be known and done at once.
//!
//! An epoch is a time in milliseconds, 1024 times over, and something drawn: so none is given twice, and JavaScript holds it
//! exactly until the year 2248. What holds for all streams of a server stands in one hash of *marks*:
//!
//! | field | holds |
//! |---|---|
//! | `run` | the process of the server that the floor is of |
//! | `floor` | the least epoch that is good. It rises when the server is another process: restarted, or a replica that took over, either of which may have lost what had been acknowledged |
//! | `base` | the least epoch that a stream begins under |
//! | `epoch` | the last that one has begun under |
//! | `0` … `3ff` | the epoch under which channels of this part of all begin, and which of them have |
//!
//! To read a channel that has no stream writes nothing: it is told to be empty under the epoch that it is going to begin under.
//! What was told stays true, for a channel that has begun under an epoch never begins under it again, however its stream was
//! lost: which channels have, a part remembers until they are 64, and then all of the part go on under the next epoch.

use std::{cell::Cell, fmt::Write as _};

use sha1::{Digest, Sha1};

/// Parts that channels are divided into.
pub(super) const PARTS: u32 = 1024;

/// Sets the floor for this process of the server, and tells it. `KEYS`: marks. `ARGV`: the server's run id, a number drawn.
pub(super) const FLOOR: &str = "\
local marks = redis.call('HMGET', KEYS[1], 'run', 'floor', 'epoch', 'base')
if marks[1] == ARGV[1] and marks[2] then return marks[2] end
local time = redis.call('TIME')
local floor = (time[1] * 1000 + math.floor(time[2] / 1000)) * 1024 + ARGV[2]
floor = math.max(floor, (marks[2] or 0) + 1, (marks[3] or 0) + 1, (marks[4] or 0) + 1)
local text = string.format('%.0f', floor)
redis.call('HSET', KEYS[1], 'run', ARGV[1], 'floor', text, 'base', text)
return text
";

/// Says that a node is there, and strikes off those that have said nothing for some time; their names, and where all nodes are.
/// `KEYS`: roll, whereabouts. `ARGV`: the node, how many milliseconds others may say nothing, 0 where nobody is to be struck off, and
/// where it is, empty where it does not say.
pub(super) const ROLL: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('PEXPIRE', KEYS[1], 3600000)
if ARGV[3] ~= '' then redis.call('HSET', KEYS[2], ARGV[1], ARGV[3]) end
local lost = {}
if ARGV[2] ~= '0' then
  lost = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[2]), 'LIMIT', 0, 64)
end
for i = 1, #lost do
  redis.call('ZREM', KEYS[1], lost[i])
  redis.call('HDEL', KEYS[2], lost[i])
end
redis.call('PEXPIRE', KEYS[2], 3600000)
return { lost, redis.call('HVALS', KEYS[2]) }
";

/// Publishes to a stream whose epoch is known, all or nothing, and tells the last id; nothing when there is no stream, or one that
/// has not come to this epoch, which is older than what was known and so of no use. `KEYS`:
/// stream. `ARGV`: the id that is wanted, how exactly and how many are kept, for how many milliseconds from now or nothing, the
/// topic, the head of the push; and the bodies.
pub(super) const RUN: &str = "\
local call, frame = redis.call, nil
local id = call('XADD', KEYS[1], 'NOMKSTREAM', 'MAXLEN', ARGV[2], ARGV[3], ARGV[1], 'd', ARGV[7])
if not id then return id end
if string.sub(id, -2) == '-0' then
  call('DEL', KEYS[1])
  return false
end
for i = 8, #ARGV do id = call('XADD', KEYS[1], 'MAXLEN', ARGV[2], ARGV[3], ARGV[1], 'd', ARGV[i]) end
if #ARGV == 7 then frame = ARGV[6] .. ARGV[7] else frame = table.concat(ARGV, '', 6) end
call('PUBLISH', ARGV[5], frame)
if ARGV[4] ~= '' then call('PEXPIRE', KEYS[1], ARGV[4]) end
return id
";

/// Finds a stream, publishes if something is to be, for which it begins one where none is good, and tells the last id and the
/// latest entries. `KEYS`: stream, marks. `ARGV`: the least epoch that is good, which begins one as well; a number drawn, the
/// topic, milliseconds that the stream is kept unused, how many entries are wanted, and how many bytes of them before no more
/// are added, how many are kept, the server's run id, the channel's part and its hash there; and, if something is to be
/// published, the kind of the push, the rest of its head, and the bodies.
pub(super) const STREAM: &str = "\
local text = function(number) return string.format('%.0f', number) end
local epoch, last
local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
if info.err then
  if not string.find(info.err, 'no such key') then return info end
else
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
end
local marks = redis.call('HMGET', KEYS[2], 'floor', 'base', 'epoch', ARGV[9])
local base = marks[2] and marks[2] + 0
if not base then
  local time = redis.call('TIME')
  base = (time[1] * 1000 + math.floor(time[2] / 1000)) * 1024 + ARGV[2]
  base = math.max(base, (marks[1] or 0) + 1, (marks[3] or 0) + 1)
  redis.call('HSET', KEYS[2], 'run', ARGV[8], 'floor', marks[1] or '0', 'base', text(base))
end
local found = last
if last then
  local ms, offset = string.match(last, '^(%d+)%-(%d+)$')
  ms, offset = tonumber(ms), tonumber(offset)
  local is_good = ms >= math.max((marks[1] or 0) + 0, ARGV[1] + 0)
  if is_good and ms < 2 ^ 53 and offset < 2 ^ 53 - 1024 then epoch = ms end
end
if not epoch then
  local free, begun = string.match(marks[4] or '', '^(%d+)(.*)$')
  free = tonumber(free or 0)
  if free < base then free, begun = base, '' end
  if string.find(begun, ' ' .. ARGV[10], 1, true) then free, begun = free + 1, '' end
  if free < ARGV[1] + 0 then free, begun = ARGV[1] + 0, '' end
  last = text(free) .. '-0'
  if #ARGV > 10 or ARGV[1] + 0 > 0 then
    epoch = free
    if found then redis.call('DEL', KEYS[1]) end
    redis.call('XADD', KEYS[1], last, 'r', '')
    redis.call('PUBLISH', ARGV[3], 'R' .. text(epoch) .. ' ')
    begun = begun .. ' ' .. ARGV[10]
    if #begun > 64 * (#ARGV[10] + 1) then free, begun = free + 1, '' end
    local latest = math.max(epoch, (marks[3] or 0) + 0)
    redis.call('HSET', KEYS[2], 'epoch', text(latest), ARGV[9], text(free) .. begun)
  end
end
if not epoch then return { last, {} } end
if #ARGV > 10 then
  local exactly = ARGV[7] == '0' and '=' or '~'
  for i = 13, #ARGV do
    last = redis.call('XADD', KEYS[1], 'MAXLEN', exactly, ARGV[7], text(epoch) .. '-*', 'd', ARGV[i])
  end
  redis.call('PUBLISH', ARGV[3], ARGV[11] .. text(epoch) .. ' ' .. table.concat(ARGV, '', 12))
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

/// The scripts that are run often, by their hashes once the server has run them on this connection and so keeps them.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) run: Script,
    pub(super) stream: Script,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Script {
    code: &'static str,
    hash: String,
    is_kept: Cell<bool>,
}

impl Default for Scripts {
    fn default() -> Self {
        Self { run: Script::new(RUN), stream: Script::new(STREAM) }
    }
}

impl Scripts {
    /// The server may not keep them.
    pub(super) fn forget(&self) {
        self.run.is_kept.set(false);
        self.stream.is_kept.set(false);
    }
}

impl Script {
    fn new(code: &'static str) -> Self {
        let hash = Sha1::digest(code).iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes it");
            text
        });
        Self { code, hash, is_kept: Cell::new(false) }
    }

    /// How to have it run. Whoever is given this says it.
    pub(super) fn words(&self) -> [&str; 2] {
        match self.is_kept.replace(true) {
            true => ["EVALSHA", &self.hash],
            false => ["EVAL", self.code],
        }
    }
}
