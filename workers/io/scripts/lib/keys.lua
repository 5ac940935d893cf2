-- requires: constants, values
-- The names of the keys. All keys of Shelfline, with type, content, writers and expiry; docs/architecture.md has the
-- fields. <target> is a model or `model@version`, <lane> is interactive or bulk, <owner> may be empty. "stays" means:
-- until a writer deletes it.
--
-- sl:job:<id>               hash    the job. jobs/create; counts and state by most scripts. stays until jobs/delete
-- sl:job:<id>:items         hash    starts, attempts and sealed segments. lanes/*, results/*. stays until the job ends
-- sl:job:<id>:seg:<n>       hash    results of 1000 images. results/settle, fill_given_up. stays until seal_segment
-- sl:job:<id>:hook:<n>      hash    a webhook of the job. jobs/create, webhooks/*. stays until jobs/delete
-- sl:job:<id>:attempts      list    last 200 delivery attempts. webhooks/delivery_record. stays until jobs/delete
-- sl:jobs, sl:jobs:<owner>  zset    jobs by creation time. jobs/create, jobs/delete. stays
-- sl:gone                   zset    "<id> <owner>" of the last deleted jobs, in the order of ids. jobs/delete. stays
-- sl:idempotency:<hash>     hash    a reservation, then its job. requests/*, jobs/create. 60 s, then the retention
-- sl:lane:<target>:<lane>   stream  images that wait or are in flight. lib/lanes, lanes/*, results/settle. stays
-- sl:active:<target>:<lane> zset    unfinished jobs by creation time. jobs/*, lib/endings. stays
-- sl:models                 set     targets. lib/lanes, lanes/sweep. stays
-- sl:ring:<target>          string  a wake-up is on its way. lib/lanes, workers/runtime.py. 2 s
-- sl:upkeep:<task>          string  an upkeep task was started. workers/queue/wakeups.py. 0.5 s to 5 s
-- sl:breaker:<target>       string  no claims for now. workers/queue/work_queue.py. 1 s to 4 s
-- sl:version-gone:<target>  string  since when a version is not served. lanes/version_gone, runtime.py. 60 s
-- sl:tidied                 string  the sweep tidied up. lanes/sweep. 60 s
-- sl:worker-seen            string  a worker is there. workers/health.py. 25 s
-- sl:attended:<target>      string  a worker takes images of it, or knows why not. lanes/*, workers/health.py. 25 s
-- sl:attended-duties        string  a worker does duties. duties/lease_duty. 25 s
-- sl:store-id               string  the id of the blob store. workers/store/store_id.py. stays
-- sl:nothing                -       asked for to learn whether Redis accepts commands. nobody writes it. never there
-- sl:open                   hash    rows and bytes that wait, in all, by owner, by lane. lib/account. stays
-- sl:rate:<model>           hash    measured rows per time. lib/account. stays
-- sl:due                    zset    duties by due time. lib/duties and scripts that make a duty. stays
-- sl:slow:<owner>           zset    deliveries under way to slow hosts, by lease end. delivery_claim. a lease
-- sl:endpoint:<id>          hash    a registered endpoint. workers/webhooks/endpoints.py, webhooks/*. stays
-- sl:endpoints[:<owner>]    zset    endpoints by creation time. the same. stays
-- sl:line:<destination>     hash    how a destination answers. webhooks/*. of a host 7 days, of an endpoint: stays
-- sl:line:<dest>:todo       zset    hooks and deliveries by due time. lib/webhooks, webhooks/*. stays
-- sl:line:<dest>:leased     zset    deliveries under way by lease end. delivery_claim, delivery_record. stays
-- sl:line:<id>:attempts     list    last 20 attempts to an endpoint. delivery_record, delivery_endpoint. stays
-- sl:due:webhooks           zset    destinations by due time. lib/webhooks, lib/outbox, endpoints.py. stays
-- sl:keys                   hash    API keys. workers/store/api_keys.py. stays
-- sl:keys:revoked, :used    hash    when a key was revoked, and last used. the same. stays
-- sl:rates:*                string  requests of a key in a window. workers/store/rate_limits.py. two windows
-- sl:served:<model>         hash    the state of a model. workers/store/catalog.py. 60 s
-- sl:contract:<m>:<version> string  the contract of a version. workers/store/catalog.py. 30 days
-- sl:metrics                hash    totals of all processes. monitoring/add_metrics, lib/account. stays
-- sl:metrics:<process>      string  number of a process's last addition. monitoring/add_metrics. 1 hour
-- sl:changed, sl:finished   channel ids of jobs that changed, or ended

local function job_key(id) return 'sl:job:' .. id end
local function items_key(id) return 'sl:job:' .. id .. ':items' end
local function segment_key(id, index) return 'sl:job:' .. id .. ':seg:' .. fmt(math.floor(index / SEGMENT)) end
local function stream_key(model, lane) return 'sl:lane:' .. model .. ':' .. lane end
local function attended_key(what) return 'sl:attended:' .. what end
local GONE = 'sl:gone'
local function active_key(model, lane) return 'sl:active:' .. model .. ':' .. lane end
local function owner_key(owner) return 'sl:jobs:' .. owner end
local function rate_key(model) return 'sl:rate:' .. string.match(model, '^[^@]+') end -- all versions share a rate
