-- What wrk sends for scripts/bench.py: wrk ... -s bench.lua URL -- METHOD NAME-PREFIX BODY-BYTES
-- GET asks for the URL; POST creates ConfigMaps at the URL, each with a name of its own. Prints one line of JSON at the end.
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("thread", threads)
end

function init(args)
  method = args[1]
  prefix = (args[2] or "x") .. "-" .. thread .. "-"
  padding = string.rep("x", tonumber(args[3] or "0"))
  count = 0
  wrk.headers["Content-Type"] = "application/json"
  get = wrk.format("GET")
end

function request()
  if method == "GET" then return get end
  count = count + 1
  return wrk.format("POST", nil, nil, '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"' .. prefix .. count ..
    '"},"data":{"padding":"' .. padding .. '"}}')
end

function done(summary, latency, requests)
  io.write(string.format('\n{"requests":%d,"seconds":%f,"bytes":%d,"failed":%d,"p50_ms":%f,"p99_ms":%f}\n', summary.requests,
    summary.duration / 1e6, summary.bytes, summary.errors.status + summary.errors.connect + summary.errors.read +
    summary.errors.write + summary.errors.timeout, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
