// One workload, several peers. Each notification = durable create of a job due after D,
// then a cancel ("ack") for 90% of them; the other 10% must fire at their deadline.
//   node peers.mjs PEER MODE   with env N, D_MS, RATE, INFLIGHT, ACK, TUNED, PG_URL, REDIS_PORT, SERVER_PID
// MODE throughput: closed loop, INFLIGHT in flight: create N, cancel ACK*N, then fire M=min(N/10,5000) due at one instant.
// MODE precision : open loop at RATE/s, delay D_MS, acks 50..2000 ms after the create; lateness of what fires.
// Prints one JSON line. Durability is set by the server the caller started (see run).
import { fork } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';

const env = process.env, num = (k, d) => Number(env[k] ?? d);
const [, , PEER, MODE = 'throughput'] = process.argv;
const N = num('N', 5000), D = num('D_MS', 5000), RATE = num('RATE', 1000), INFLIGHT = num('INFLIGHT', 64);
const ACK = num('ACK', 0.9), TUNED = env.TUNED !== '0', PG = env.PG_URL, RPORT = num('REDIS_PORT', 0), SERVER = num('SERVER_PID', 0);
const now = () => performance.timeOrigin + performance.now();
const sleep = ms => new Promise(r => setTimeout(r, ms));
const Q = 'fallback';

// ---------- peers: create(i, due) -> handle, cancel(handle), work(onFire), close() ----------
const uuid = i => `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`;
const pgPool = async max => { const { default: pg } = await import('pg'); const p = new pg.Pool({ connectionString: PG, max }); p.on('error', () => {}); p.on('connect', c => c.on('error', () => {})); return p; };
const peers = {
  async bullmq(role) {
    const { Queue, Worker } = await import('bullmq');
    const connection = { host: '127.0.0.1', port: RPORT, maxRetriesPerRequest: null };
    const q = role === 'drive' ? new Queue(Q, { connection, defaultJobOptions: { removeOnComplete: true } }) : null;
    return {
      create: async (i, due) => { const t = Date.now(); await q.add('f', { i, due }, { jobId: `n-${i}`, timestamp: t, delay: Math.max(0, Math.round(due - t)) }); return `n-${i}`; },
      cancel: h => q.remove(h),
      work: async on => { await new Worker(Q, async j => on(j.data.i, j.data.due), { connection, concurrency: TUNED ? 64 : 1 }).waitUntilReady(); },
    };
  },
  async graphile(role) {
    const gw = await import('graphile-worker');
    const m = gw.makeWorkerUtils ? gw : gw.default;
    const logger = new m.Logger(() => () => {});
    const pgPool_ = await pgPool(role === 'drive' ? INFLIGHT : 12);
    const u = await m.makeWorkerUtils({ pgPool: pgPool_, logger });
    if (role === 'drive') await u.migrate();
    return {
      create: async (i, due) => { await u.addJob(Q, { i, due }, { runAt: new Date(due), jobKey: `n-${i}` }); return `n-${i}`; },
      cancel: h => pgPool_.query('select graphile_worker.remove_job($1)', [h]),
      work: async on => { await m.run({ pgPool: pgPool_, logger, noHandleSignals: true, ...(TUNED ? { concurrency: 64, pollInterval: 100, preset: { worker: { localQueue: { size: 200 }, completeJobBatchDelay: 0 } } } : { concurrency: 10 }), taskList: { [Q]: async p => on(p.i, p.due) } }); },
    };
  },
  async pgboss(role) {
    const { PgBoss } = await import('pg-boss');
    const boss = new PgBoss({ connectionString: PG, max: role === 'drive' ? INFLIGHT : 10 });
    boss.on('error', () => {});
    await boss.start();
    if (role === 'drive') await boss.createQueue(Q);
    return {
      create: async (i, due) => { await boss.send(Q, { i, due }, { id: uuid(i), startAfter: new Date(due) }); return uuid(i); },
      cancel: h => boss.cancel(Q, h),
      work: async on => { await boss.work(Q, TUNED ? { pollingIntervalSeconds: 0.5, batchSize: 1000, burstWhenBatchFull: true } : {}, async js => { for (const j of js) on(j.data.i, j.data.due); }); },
    };
  },
  // What an engineer writes in an afternoon: a table, an index on the deadline, a SKIP LOCKED poller.
  async pgraw(role) {
    const pool = await pgPool(INFLIGHT);
    if (role === 'drive') await pool.query('create table if not exists t(id bigint primary key, due double precision not null, p jsonb); create index if not exists t_due on t(due)');
    return {
      create: async (i, due) => { await pool.query({ name: 'c', text: 'insert into t values($1,$2,$3)', values: [i, due, { i, due }] }); return i; },
      cancel: h => pool.query({ name: 'x', text: 'delete from t where id=$1', values: [h] }),
      work: async on => { (async () => { for (;;) { const r = await pool.query({ name: 'f', text: 'delete from t where id in (select id from t where due<=$1 order by due limit 500 for update skip locked) returning id,due', values: [now()] }); for (const x of r.rows) on(Number(x.id), x.due); if (!r.rowCount) await sleep(20); } })(); },
    };
  },
  // The same table with application-level group commit: everything that queued up during the last flush goes in one statement.
  async pgbatch(role) {
    const b = await peers.pgraw(role), pool = await pgPool(4);
    const batcher = fn => { let q = [], busy = false; const go = async () => { if (busy || !q.length) return; busy = true; const c = q.splice(0, 1000); try { await fn(c.map(x => x.v)); c.forEach(x => x.ok()); } catch (e) { c.forEach(x => x.no(e)); } busy = false; go(); }; return v => new Promise((ok, no) => { q.push({ v, ok, no }); go(); }); };
    const ins = batcher(v => pool.query({ name: 'bi', text: 'insert into t select * from unnest($1::bigint[],$2::float8[],$3::jsonb[])', values: [v.map(x => x[0]), v.map(x => x[1]), v.map(x => JSON.stringify({ i: x[0], due: x[1] }))] }));
    const del = batcher(v => pool.query({ name: 'bd', text: 'delete from t where id=any($1::bigint[])', values: [v] }));
    return { create: async (i, due) => { await ins([i, due]); return i; }, cancel: del, work: b.work };
  },
  // Sorted set + Lua claim, no job semantics at all: the floor for anything on Redis.
  async redisraw() {
    const { default: Redis } = await import('ioredis');
    const r = new Redis({ host: '127.0.0.1', port: RPORT });
    r.defineCommand('claim', { numberOfKeys: 2, lua: "local d=redis.call('ZRANGEBYSCORE',KEYS[1],0,ARGV[1],'LIMIT',0,500) for _,k in ipairs(d) do redis.call('ZREM',KEYS[1],k) redis.call('HDEL',KEYS[2],k) end return d" });
    return {
      create: async (i, due) => { const h = `${i}:${due}`; await r.multi().zadd('z', due, h).hset('h', h, '{}').exec(); return h; },
      cancel: h => r.multi().zrem('z', h).hdel('h', h).exec(),
      work: async on => { (async () => { for (;;) { const d = await r.claim('z', 'h', now()); for (const k of d) { const [i, due] = k.split(':'); on(Number(i), Number(due)); } if (!d.length) await sleep(5); } })(); },
    };
  },
};

// ---------- worker child: reports (i, due, firedAt) in batches ----------
if (MODE === 'worker') {
  const p = await peers[PEER]('work'); let buf = [];
  await p.work((i, due) => { buf.push([i, due, now()]); });
  setInterval(() => { if (buf.length) { process.send(buf); buf = []; } }, 50);
  process.on('disconnect', () => process.exit(0));
  process.send('ready');
  await new Promise(() => {});
}

// ---------- resources: CPU seconds and peak PSS of the server's process tree ----------
const HZ = 100, stat = pid => { try { const s = readFileSync(`/proc/${pid}/stat`, 'utf8'); const f = s.slice(s.lastIndexOf(')') + 2).split(' '); return { ppid: +f[1], self: (+f[11] + +f[12]) / HZ, kids: (+f[13] + +f[14]) / HZ }; } catch { return null; } };
const tree = () => { if (!SERVER) return []; const out = [SERVER]; for (const d of readdirSync('/proc')) if (/^\d+$/.test(d) && stat(d)?.ppid === SERVER) out.push(+d); return out; };
const serverCpu = () => { const t = tree(); return t.reduce((a, p) => a + (stat(p)?.self ?? 0), 0) + (stat(SERVER)?.kids ?? 0); };
const pss = () => tree().reduce((a, p) => { try { return a + +/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${p}/smaps_rollup`, 'utf8'))[1] / 1024; } catch { return a; } }, 0);
let peak = 0; const sampler = setInterval(() => { peak = Math.max(peak, pss()); }, 500);
const pct = (a, p) => a.length ? a[Math.min(a.length - 1, Math.floor(a.length * p))] : null;
const r1 = x => x == null ? null : Math.round(x * 10) / 10;

async function closed(n, f) { let i = 0; const t0 = now(); await Promise.all(Array.from({ length: INFLIGHT }, async () => { while (i < n) await f(i++); })); return n / ((now() - t0) / 1000); }
async function startWorker(fired) {
  const w = fork(process.argv[1], [PEER, 'worker'], { env });
  await new Promise(ok => w.on('message', m => m === 'ready' ? ok() : m.forEach(x => fired.push(x))));
  return w;
}
const until = async (f, ms) => { const t = now() + ms; while (!f() && now() < t) await sleep(20); };

const peer = await peers[PEER]('drive');
const out = { name: PEER + (TUNED ? '' : '-defaults'), mode: MODE, durable: env.DURABLE ?? null, n: N };
await closed(INFLIGHT * 8, async i => peer.cancel(await peer.create(10 * N + i, Date.now() + 3600e3))); // warm up: open the pool, compile, fill caches
const cpu0 = serverCpu(), own0 = process.cpuUsage(); 
if (MODE === 'throughput') {
  const handles = new Array(N), far = 6 * 3600e3;
  out.creates_per_s = Math.round(await closed(N, async i => { handles[i] = await peer.create(i, Date.now() + far); }));
  const acked = handles.filter(() => Math.random() < ACK);
  out.cancels_per_s = Math.round(await closed(acked.length, i => peer.cancel(acked[i])));
  const c = process.cpuUsage(own0); out.cpu_server_s = r1(serverCpu() - cpu0); out.cpu_client_s = r1((c.user + c.system) / 1e6);
  peak = Math.max(peak, pss()); out.rss_mb = Math.round(peak);
  // burst: M jobs due at one instant, as after a provider outage or a restart
  const M = Math.min(Math.round(N / 10), 5000), fired = [];
  const T = Date.now() + 2500 + 1000 * M / out.creates_per_s * 1.5;
  await closed(M, i => peer.create(N + i, T));
  const w = await startWorker(fired);
  await until(() => new Set(fired.map(x => x[0])).size >= M, T - now() + 60e3);
  const last = Math.max(...fired.map(x => x[2]));
  out.burst_n = M; out.burst_fires_per_s = Math.round(fired.length / ((last - T) / 1000)); out.burst_last_ms = r1(last - T); out.lost = M - new Set(fired.map(x => x[0])).size;
  w.disconnect();
} else {
  const fired = [], w = await startWorker(fired), wcpu0 = stat(w.pid)?.self ?? 0;
  const due = new Float64Array(N), ackAt = new Float64Array(N).fill(Infinity), lat = [], pend = [];
  let i = 0, errs = 0; const t0 = now();
  await new Promise(done => { const tick = setInterval(() => {
    const want = Math.min(N, Math.floor((now() - t0) / 1000 * RATE));
    for (; i < want; i++) { const k = i, s = now(); due[k] = s + D;
      pend.push(peer.create(k, due[k]).then(async h => { lat.push(now() - s); if (Math.random() >= ACK) return; await sleep(50 + Math.random() * 1950); await peer.cancel(h); ackAt[k] = now(); }).catch(() => { errs++; })); }
    if (i >= N) { clearInterval(tick); done(); } }, 1); });
  const span = (now() - t0) / 1000;
  await Promise.all(pend); const acks = ackAt.filter(x => x < Infinity).length;
  await until(() => new Set(fired.map(x => x[0])).size >= N - acks, due[N - 1] - now() + num('GRACE_MS', 20000));
  await sleep(500);
  const seen = new Set(), late = []; let wrong = 0, dup = 0;
  for (const [k, , t] of fired) { if (seen.has(k)) { dup++; continue; } seen.add(k); if (ackAt[k] < due[k]) wrong++; else late.push(t - due[k]); }
  let lost = 0; for (let k = 0; k < N; k++) if (ackAt[k] === Infinity && !seen.has(k)) lost++;
  late.sort((a, b) => a - b); lat.sort((a, b) => a - b);
  const c = process.cpuUsage(own0);
  Object.assign(out, { d_ms: D, rate: RATE, achieved_rate: Math.round(N / span), create_p50_ms: r1(pct(lat, .5)), create_p99_ms: r1(pct(lat, .99)), fired: late.length, late_min_ms: r1(late[0]), late_p50_ms: r1(pct(late, .5)), late_p99_ms: r1(pct(late, .99)), late_p999_ms: r1(pct(late, .999)), late_max_ms: r1(late.at(-1)), wrongly_fired: wrong, duplicates: dup, lost, errors: errs, cpu_server_s: r1(serverCpu() - cpu0), cpu_client_s: r1((c.user + c.system) / 1e6 + (stat(w.pid)?.self ?? 0) - wcpu0), rss_mb: Math.round(peak) });
  w.disconnect();
}
clearInterval(sampler);
console.log(JSON.stringify(out));
process.exit(0);
