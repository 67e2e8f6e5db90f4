-- Many keys, few of them hot, as real traffic is: the n-th most popular key is asked for about 1/n as often as the
-- first (Zipf's law with exponent 1).
--   wrk -t2 -c64 -d30s --latency -s loadtest/zipf.lua http://127.0.0.1:8080/
--   KEYS=1000000 wrk ...        more keys than the cache holds: watch evictions in /metrics
--
-- The origin should answer any path under /item/ with something cacheable.

local keys = tonumber(os.getenv("KEYS") or "100000")
local log_keys = math.log(keys)
local threads = 0

-- Each thread of wrk has a Lua state of its own, and would draw the same numbers from the same seed.
function setup(thread)
  threads = threads + 1
  thread:set("seed", threads)
end

function init(_)
  math.randomseed(seed)
end

-- The inverse of the distribution's sum, with the sum taken as an integral: exp(u ln n) for u uniform in 0..1.
function request()
  local rank = math.floor(math.exp(math.random() * log_keys))
  return wrk.format("GET", "/item/" .. rank)
end
