-- What wrk sends for scripts/bench.py: wrk ... -s bench.lua URL -- METHOD NAME-PREFIX BODY-BYTES
-- GET asks for the URL; POST creates ConfigMaps at the URL, each with a name of its own. Prints one line of JSON at the end.
--      wrk -t 1 ... -- BODIES NAME-PREFIX FILE COUNT GROUPS
-- creates COUNT objects of the JSON in FILE, in which NAME is an object's own name and GROUP one of GROUPS numbers.
local threads = 0
local goal, answered = nil, 0

function setup(thread)
  threads = threads + 1
  thread:set("thread", threads)
end

function init(args)
  method = args[1]
  prefix = (args[2] or "x") .. "-" .. thread .. "-"
  count = 0
  if method == "BODIES" then
    local file = io.open(args[3])
    template = file:read("*a")
    file:close()
    goal, groups = tonumber(args[4]), tonumber(args[5])
  else
    padding = string.rep("x", tonumber(args[3] or "0"))
  end
  wrk.headers["Content-Type"] = "application/json"
  get = wrk.format("GET")
  idle = wrk.format("GET", "/livez")
end

function request()
  if method == "GET" then return get end
  -- wrk itself asks for one before it begins, only to look at it.
  count = count + 1
  if method == "BODIES" then
    if count == 1 and not begun then
      begun, count = true, 0
      return get
    end
    -- What is asked for beyond the goal until its last answer comes changes nothing, and costs next to nothing: at the URL,
    -- 63 clients would ask for a list of all that was created.
    if count > goal then return idle end
    return wrk.format("POST", nil, nil, (template:gsub("NAME", prefix .. count):gsub("GROUP", count % groups)))
  end
  return wrk.format("POST", nil, nil, '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"' .. prefix .. count ..
    '"},"data":{"padding":"' .. padding .. '"}}')
end

function response(status)
  if not goal or status ~= 201 then return end
  answered = answered + 1
  if answered >= goal then wrk.thread:stop() end
end

function done(summary, latency, requests)
  io.write(string.format('\n{"requests":%d,"seconds":%f,"bytes":%d,"failed":%d,"p50_ms":%f,"p99_ms":%f}\n', summary.requests,
    summary.duration / 1e6, summary.bytes, summary.errors.status + summary.errors.connect + summary.errors.read +
    summary.errors.write + summary.errors.timeout, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
