"""The scripts that Redis runs for leases: each is one operation, and nothing comes between its parts.

An account in one window is a hash: `b` what was settled by nobody who still has a lease, `t` that and all leases, `v` how
often the base was set, `at` when; for each replica `r:ID` its lease and `n:ID` the number of its newest operation. Amounts
are integers in decimal; Lua's numbers are exact only to 2^53, so they are reckoned with in two parts. A hash that Redis
has lost must not be taken for one that never was: so every key has the epoch in its name, and every script first sees that
the epoch of its caller is that of the server, which begins anew whenever the server's run or the marker is another one.
"""

_EPOCH = """
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local epoch = redis.call('GET', KEYS[1])
if not epoch or epoch:sub(1, #run) ~= run then epoch = false end
"""
_SAME = (
    _EPOCH
    + """
if epoch ~= ARGV[1] then return 'epoch' end
local replica, number = ARGV[2], tonumber(ARGV[3])
"""
)
_AMOUNTS = """
local NANOS = 1000000000
local function amount(text)
    text = text or '0'
    if #text <= 9 then return {0, tonumber(text)} end
    return {tonumber(text:sub(1, -10)), tonumber(text:sub(-9))}
end
local function carried(units, nanos)
    local more = math.floor(nanos / NANOS)
    return {units + more, nanos - more * NANOS}
end
local function plus(a, b) return carried(a[1] + b[1], a[2] + b[2]) end
local function minus(a, b) return carried(a[1] - b[1], a[2] - b[2]) end
local function less(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end
local function most(a, b) if less(a, b) then return b end return a end
local function least(a, b) if less(a, b) then return a end return b end
local function part(a, n)
    local units = math.floor(a[1] / n)
    return carried(units, math.floor(((a[1] - units * n) * NANOS + a[2]) / n))
end
local function text(a)
    if a[1] == 0 then return string.format('%d', a[2]) end
    return string.format('%d%09d', a[1], a[2])
end
"""

HELLO = (
    _EPOCH
    + """
if not epoch then
    epoch = run .. ':' .. ARGV[1]
    redis.call('SET', KEYS[1], epoch)
end
local memory = redis.call('INFO', 'memory')
local evicts = string.match(memory, 'maxmemory:(%d+)') ~= '0' and string.match(memory, 'maxmemory_policy:([%w-]+)') or ''
local wanted = KEYS[2] .. epoch
redis.call('ZREMRANGEBYSCORE', wanted, '-inf', redis.call('TIME')[1] - tonumber(ARGV[2]))
return {epoch, evicts, redis.call('ZREVRANGE', wanted, 0, 999)}
"""
)
"""Which epoch it is, making one where there is none; why keys might vanish; which accounts are wanted.

KEYS: marker, what the wanted are named before the epoch. ARGV: something new, for how many seconds a wish is remembered.
"""

STATE = (
    _SAME
    + _AMOUNTS
    + """
for i = 2, #KEYS do
    local told = redis.call('HMGET', KEYS[i], 't', 'r:' .. replica, 'n:' .. replica)
    if tonumber(told[3] or 0) < number then
        local own = ARGV[2 + i]
        redis.call('HSET', KEYS[i], 'r:' .. replica, own, 'n:' .. replica, ARGV[3])
        if told[1] then
            redis.call('HSET', KEYS[i], 't', text(plus(minus(amount(told[1]), amount(told[2])), amount(own))))
        end
    end
end
return 'done'
"""
)
"""What a replica has, told to a new epoch.

KEYS: marker, hashes. ARGV: epoch, replica, number; for each hash its lease.
"""

DRAW = (
    _SAME
    + _AMOUNTS
    + """
local now, out = redis.call('TIME')[1], {}
for i = 3, #KEYS do
    local key, at = KEYS[i], 4 + (i - 3) * 7
    local told = redis.call('HMGET', key, 't', 'r:' .. replica, 'n:' .. replica, 'at', 'w')
    if not told[1] then
        out[#out + 1] = {}
    else
        local own = amount(told[2])
        local others = minus(amount(told[1]), own)
        if tonumber(told[3] or 0) < number then
            local limit, keep, need = amount(ARGV[at]), amount(ARGV[at + 1]), amount(ARGV[at + 2])
            local beyond = minus(minus(limit, others), need)
            own = keep
            if beyond[1] >= 0 then
                own = most(keep, least(amount(ARGV[at + 3]), plus(need, part(beyond, tonumber(ARGV[at + 4])))))
            end
            redis.call('HSET', key, 't', text(plus(others, own)), 'r:' .. replica, text(own), 'n:' .. replica, ARGV[3])
            redis.call('EXPIREAT', key, ARGV[at + 6])
            if less(own, need) then
                redis.call('HSET', key, 'w', replica)
                redis.call('ZADD', KEYS[2], now, ARGV[at + 5])
            elseif told[5] == replica then
                redis.call('HDEL', key, 'w')
                redis.call('ZREM', KEYS[2], ARGV[at + 5])
            end
        end
        out[#out + 1] = {text(own), text(others), tostring(now - tonumber(told[4]))}
    end
end
return out
"""
)
"""`core.lease.granted`, for several accounts: for each its lease, what others have, and the age of the base in seconds; or
nothing, where it has no base.

KEYS: marker, the wanted, hashes. ARGV: epoch, replica, number; for each hash limit, keep, need, want, parts, what it is called
among the wanted, when it can be forgotten (seconds since 1970).
"""

PEEK = (
    _SAME
    + """
local out = {}
for i = 2, #KEYS do
    local ids = {redis.call('HGET', KEYS[i], 'v') or '', redis.call('HGET', KEYS[i], 't') or ''}
    for _, name in ipairs(redis.call('HKEYS', KEYS[i])) do
        if name:sub(1, 2) == 'r:' then ids[#ids + 1] = name:sub(3) end
    end
    out[#out + 1] = ids
end
return out
"""
)
"""For each hash how often its base was set, all that is taken, and who is in it.

KEYS: marker, hashes. ARGV: epoch, replica, number.
"""

BASE = (
    _SAME
    + _AMOUNTS
    + """
local key, version = KEYS[2], redis.call('HGET', KEYS[2], 'v') or ''
if version ~= ARGV[4] then return 'late' end
local live = 8 + tonumber(ARGV[7])
for i = 8, live - 1 do redis.call('HDEL', key, 'r:' .. ARGV[i], 'n:' .. ARGV[i]) end
for i = live, #ARGV, 2 do
    local told = redis.call('HGET', key, 'r:' .. ARGV[i])
    if not told or less(amount(told), amount(ARGV[i + 1])) then redis.call('HSET', key, 'r:' .. ARGV[i], ARGV[i + 1]) end
end
local taken, all = amount(ARGV[5]), redis.call('HGETALL', key)
for i = 1, #all, 2 do
    if all[i]:sub(1, 2) == 'r:' then taken = plus(taken, amount(all[i + 1])) end
end
redis.call('HSET', key, 'b', ARGV[5], 't', text(taken), 'v', tonumber(version ~= '' and version or 0) + 1,
    'at', redis.call('TIME')[1])
redis.call('EXPIREAT', key, ARGV[6])
return 'done'
"""
)
"""Set the base of a hash as PostgreSQL told it, unless somebody else has set it since the hash was looked at; leave out who was
in the hash then and is not in PostgreSQL; and let nobody have less there than PostgreSQL knows that it has.

KEYS: marker, hash. ARGV: epoch, replica, number, version, base, when it can be forgotten, how many to leave out, these; for each
of the others its name and what it has at least: what it has settled, or more.
"""
