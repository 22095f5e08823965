#!/usr/bin/env python3
"""Drives the bench: drive.py {smoke|base|memory|failover|cti|cti-memory} --peers a,b --rounds N --out FILE. `run` is the way to start it.
The proxy has core 0; XSPs, load generator and this driver have core 1. See README.md."""
import argparse, atexit, json, os, signal, socket, subprocess, sys, tempfile, time, urllib.request
HERE = os.path.dirname(os.path.abspath(__file__))
PB, CERTS = os.environ["PB"], os.environ["CERTS"]
SMALL = "/com.broadsoft.xsi-actions/v2.0/user/alice%40example.test/profile"
BIG = "/com.broadsoft.xsi-actions/v2.0/user/alice%40example.test/directories/enterprise"
LISTEN = os.environ.get("LISTEN", "127.0.0.1:8443")
B = ["127.0.0.11:9443", "127.0.0.12:9443"]
CTI = os.environ.get("CTI", "127.0.0.1:8012")
C = ["127.0.0.11:9012", "127.0.0.12:9012"]
BRIDGES = ["gateway", "gateway-log", "haproxy26"]   # the peers that bridge CTI
PCORE, LCORE = os.environ.get("PCORE", "0"), os.environ.get("LCORE", "1")

def tree(pid):
    kids = {}
    for d in os.listdir("/proc"):
        if d.isdigit():
            try:
                f = open(f"/proc/{d}/stat").read(); r = f[f.rindex(")") + 2:].split(); kids.setdefault(int(r[1]), []).append(int(d))
            except OSError: pass
    out, st = [], [pid]
    while st:
        p = st.pop(); out.append(p); st += kids.get(p, [])
    return out
def cpu_ns(pids):
    """process CPU clocks (user+sys, all threads, exited ones too), ns"""
    t = 0
    for p in pids:
        try: t += time.clock_gettime_ns(((~p) << 3) | 2)
        except OSError: pass
    return t
def ustime(pids):
    u = s = 0
    for p in pids:
        try: r = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split(); u += int(r[11]); s += int(r[12])
        except OSError: pass
    return u, s
def mem(pids):
    pss = rss = 0
    for p in pids:
        try:
            for l in open(f"/proc/{p}/smaps_rollup"):
                if l.startswith("Rss:"): rss += int(l.split()[1])
                elif l.startswith("Pss:"): pss += int(l.split()[1])
        except OSError: pass
    return rss, pss
def steal():
    r = open("/proc/stat").readline().split(); return int(r[8])
def busy_s():
    """CPU seconds used by everything on the machine, except what is nice, as `keep_awake` is"""
    r = [int(x) for x in open("/proc/stat").readline().split()[1:8]]; return (r[0] + r[2] + r[5] + r[6]) / 100.0
def keep_awake():
    """Something that runs on the load's core when nothing else does. On a virtual machine, waking a core that has gone to
    sleep costs the sender, here the proxy, several microseconds, or not, by chance: CPU per request doubled from round to round."""
    return subprocess.Popen(["taskset", "-c", LCORE, "nice", "-n", "19", "chrt", "-i", "0", "timeout", "3600", "sh", "-c", "while :; do :; done"])
def child_s():
    import resource; u = resource.getrusage(resource.RUSAGE_CHILDREN); v = resource.getrusage(resource.RUSAGE_SELF); return u.ru_utime + u.ru_stime + v.ru_utime + v.ru_stime
OG = []   # every Origins that is up
def ours_s(px): return child_s() + cpu_ns((px.pids if px else []) + [q.pid for og in OG for q in og.p if q]) / 1e9
class Origins:
    def __init__(self, what="origin", at=B, *more):
        self.p, self.what, self.at, self.more = [None, None], what, at, more
        OG.append(self); atexit.register(self.close); self.up(0); self.up(1)
    def up(self, i):
        self.down(i)
        if not free(self.at[i]): raise SystemExit(f"{self.at[i]} is in use")
        self.p[i] = subprocess.Popen(["taskset", "-c", LCORE, PB, self.what, "--listen", self.at[i], "--name", f"b{i+1}", "--cert", CERTS + "/origin.chain.pem", "--key", CERTS + "/origin.key", *self.more])
        wait_port(self.at[i])
    def down(self, i):
        if self.p[i]:
            self.p[i].send_signal(signal.SIGCONT); self.p[i].kill(); self.p[i].wait(); self.p[i] = None
    def close(self):
        self.down(0); self.down(1)
        if self in OG: OG.remove(self)
def cti_origins(): return Origins("cti-origin", C, "--client-ca", CERTS + "/ca.pem")
def wait_port(a, t=15):
    h, p = a.split(":"); end = time.time() + t
    while time.time() < end:
        try: socket.create_connection((h, int(p)), 1).close(); return
        except OSError: time.sleep(0.05)
    raise SystemExit(f"nothing listens on {a}")
def free(a):
    h, p = a.split(":")
    try: socket.create_connection((h, int(p)), 1).close(); return False
    except OSError: return True
class Proxy:
    def __init__(self, name, env=None):
        self.name = name; self.work = tempfile.mkdtemp(prefix=f"{name}-", dir=os.path.dirname(CERTS))
        e = dict(os.environ, BENCH=HERE, WORK=self.work, LISTEN=LISTEN, B1=B[0], B2=B[1], CTI=CTI, C1=C[0], C2=C[1], **(env or {}))
        self.log = open(self.work + "/out.log", "w")
        if not free(LISTEN): raise SystemExit(f"{LISTEN} is in use")
        self.p = subprocess.Popen(["taskset", "-c", PCORE, HERE + "/peers/" + name], env=e, stdout=self.log, stderr=self.log, start_new_session=True); atexit.register(self.stop)
        wait_port(LISTEN); time.sleep(1.0); self.pids = tree(self.p.pid)
    def stop(self):
        atexit.unregister(self.stop)
        if self.p.poll() is not None: return print(open(self.work + "/out.log").read()[-2000:], file=sys.stderr)
        pids = tree(self.p.pid)
        self.p.terminate()
        try: self.p.wait(3)
        except subprocess.TimeoutExpired: pass
        for q in pids:
            try: os.kill(q, signal.SIGKILL)
            except OSError: pass
        self.p.wait(); time.sleep(0.2)
def pb(*a, **k):
    r = subprocess.run(["taskset", "-c", LCORE, PB, *map(str, a)], capture_output=True, text=True, timeout=k.get("timeout", 120))
    return json.loads(r.stdout.strip().splitlines()[-1])
def undisturbed(px, take):
    """one measurement; taken again (twice at most) if other programs on this machine used over 0.10 core meanwhile"""
    for k in range(a.attempts):
        f0, g0, w0, s0 = busy_s(), ours_s(px), time.time(), steal()
        r = take(); r["attempt"] = k; r["steal_ticks"] = steal() - s0
        r["foreign"] = max(0.0, ((busy_s() - f0) - (ours_s(px) - g0)) / (time.time() - w0))
        if r["foreign"] <= 0.10: break
    return r
def load(px, dur, *a, target=None): return undisturbed(px, lambda: load1(px, dur, *a, target=target))
def load1(px, dur, *a, target=None):
    c0, u0 = cpu_ns(px.pids) if px else 0, ustime(px.pids) if px else (0, 0)
    r = pb("load", "--connect", target or LISTEN, "--duration", dur, *a)
    if px:
        px.pids = tree(px.p.pid)
        c1, u1 = cpu_ns(px.pids), ustime(px.pids)
        r["cpu_us"] = (c1 - c0) / 1e3; w = float(a[a.index("--warmup") + 1]) if "--warmup" in a else 0.0
        r["cpu_us_per_req"] = r["cpu_us"] / max(1, r["ok"] * (dur + w) / dur); r["proxy_util"] = (c1 - c0) / 1e9 / r["elapsed"]
        du, ds = u1[0] - u0[0], u1[1] - u0[1]; r["user_share"] = du / max(1, du + ds)
    return r
class Bridges:
    """`pb cti-load`: its bridges are up once this is made, and it goes on when told to"""
    def __init__(self, what, *more):
        self.p = subprocess.Popen(["taskset", "-c", LCORE, PB, "cti-load", "--connect", CTI, "--what", what, "--cert", CERTS + "/webex-client.chain.pem", "--key", CERTS + "/webex-client.key", *map(str, more)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        atexit.register(self.p.kill); self.said = self.p.stdout.readline().split()
    def go_on_for_now(self): self.p.stdin.write("\n"); self.p.stdin.flush(); self.p.stdout.readline()
    def go_on(self):
        r = json.loads(self.p.communicate("\n", timeout=120)[0].strip().splitlines()[-1]); atexit.unregister(self.p.kill)
        return r
class Instructions:
    """what `perf` counts for the processes meanwhile; nothing if it is not there or not allowed to"""
    def __init__(self, pids):
        self.p = None
        if not a.perf: return
        self.p = subprocess.Popen(["taskset", "-c", LCORE, "perf", "stat", "-x", ",", "-e", "instructions:u,instructions:k", "-p", ",".join(map(str, pids))], stderr=subprocess.PIPE, text=True)
        time.sleep(0.3)
    def end(self):
        if not self.p: return {}
        self.p.send_signal(signal.SIGINT); n = [l.split(",") for l in self.p.communicate(timeout=10)[1].splitlines()]
        return {"instructions_" + x[2].split(":")[1]: int(x[0]) for x in n if len(x) > 2 and x[0].isdigit()}
def bridged(px, what, *more): return undisturbed(px, lambda: bridged1(px, what, *more))
def bridged1(px, what, *more):
    """what the proxy takes for bytes, documents or bridges; handshakes of bridges that were up before are not in it"""
    p = Bridges(what, *more); n = Instructions(px.pids)
    c0, u0 = cpu_ns(px.pids), ustime(px.pids)
    r = p.go_on(); px.pids = tree(px.p.pid)
    c1, u1 = cpu_ns(px.pids), ustime(px.pids); n = n.end()
    each = max(1, r["mib"] or r["ok"]); du, ds = u1[0] - u0[0], u1[1] - u0[1]
    r["cpu_us"] = (c1 - c0) / 1e3; r["cpu_us_each"] = r["cpu_us"] / each
    r["user_share"] = du / max(1, du + ds); r["proxy_util"] = (c1 - c0) / 1e9 / r["elapsed"]
    r.update({k + "_each": v / each for k, v in n.items()})
    return r
def emit(o, **k):
    o.write(json.dumps(k) + "\n"); o.flush()

def base(a, o):
    for rd in range(a.rounds):
        og = Origins()
        r = load(None, 2, "--conns", 64, "--warmup", 0.3, target=B[0]); emit(o, kind="control_direct", peer="-", round=rd, **r)
        peers = a.peers[rd % len(a.peers):] + a.peers[:rd % len(a.peers)]
        for name in peers:
            px = Proxy(name)
            try:
                load(px, 1, "--conns", 64, "--cookies")                       # warm pools, JIT-ish caches, heap
                emit(o, kind="sat", peer=name, round=rd, **load(px, a.sec, "--conns", 64, "--cookies"))
                emit(o, kind="rate", peer=name, round=rd, **load(px, a.sec, "--warmup", 0.6, "--conns", 32, "--cookies", "--rate", a.rate))
                emit(o, kind="hs", peer=name, round=rd, **load(px, a.sec, "--conns", 16, "--close"))
                emit(o, kind="mb", peer=name, round=rd, **load(px, a.sec, "--conns", 8, "--path", BIG))
            except Exception as e: emit(o, kind="fail", peer=name, round=rd, error=repr(e))
            px.stop(); print(time.strftime("%H:%M:%S"), "base", rd, name, flush=True)
        og.close()
def grown(a, o, rd, name, what, *more):
    """memory that a.n connections take while they say nothing, KiB each"""
    px = Proxy(name)
    try:
        load(px, 1, "--conns", 8, "--rate", 200); time.sleep(0.5); m0 = mem(px.pids)
        p = subprocess.Popen(["taskset", "-c", LCORE, PB, what, "--connect", LISTEN, "--n", str(a.n), "--hold", "3", *more], stdout=subprocess.PIPE, text=True)
        p.stdout.readline(); time.sleep(1.5); m1 = mem(px.pids)
        r = json.loads(p.communicate(timeout=60)[0].strip().splitlines()[-1])
        emit(o, kind="grown-" + what, peer=name, round=rd, rss0_kib=m0[0], kib_each=(m1[1] - m0[1]) / max(1, r["established"]), **r)
    except Exception as e: emit(o, kind="fail", peer=name, round=rd, error=repr(e))
    px.stop()
def memory(a, o):
    for rd in range(a.rounds):
        og = Origins()
        for name in a.peers[rd % len(a.peers):] + a.peers[:rd % len(a.peers)]:
            grown(a, o, rd, name, "idle"); grown(a, o, rd, name, "streams", "--rate", "900", "--ms", "60000")
            print(time.strftime("%H:%M:%S"), "memory", rd, name, flush=True)
        og.close()
    streams(a, o)
def smoke(a, o):
    """every peer answers GETs, POSTs, 1 MiB and channels, and bridges, without an error; nothing is measured that is worth quoting"""
    bad, og, at_cti = [], Origins(), cti_origins()
    for name in a.peers:
        px = Proxy(name)
        try:
            for more in ([], ["--method", "POST", "--body", "200"], ["--close"], ["--path", BIG]):
                r = load1(px, 1, "--conns", 4, "--cookies", *more); emit(o, kind="smoke", peer=name, args=more, **r)
                if not r["ok"] or r["errors"] or r["non200"]: bad.append((name, more, r["notes"]))
            r = pb("streams", "--connect", LISTEN, "--n", 50, "--rate", 500, "--hold", 1.5, "--ms", 200, timeout=30)
            if r["established"] != 50 or r["dropped"] or not r["chunks_in_hold"]: bad.append((name, "streams", r))
            for what, *more in [("both", "--mib", 8), ("docs", "--duration", 0.5), ("hold", "--conns", 50, "--busy", 64)] if name in a.bridges else []:
                p = Bridges(what, *more)
                if what == "hold": p.go_on_for_now()
                r = p.go_on(); emit(o, kind="smoke", peer=name, args=what, **r)
                if not r["established"] or r["errors"]: bad.append((name, what, r))
        except Exception as e: bad.append((name, repr(e)))
        px.stop(); print(time.strftime("%H:%M:%S"), "smoke", name, flush=True)
    og.close(); at_cti.close()
    if bad: raise SystemExit(f"smoke failed: {bad}")
def cti(a, o):
    for rd in range(a.rounds):
        og, http = cti_origins(), Origins()
        for name in a.bridges[rd % len(a.bridges):] + a.bridges[:rd % len(a.bridges)]:
            px = Proxy(name); wait_port(CTI)
            try:
                bridged1(px, "both", "--conns", 4, "--mib", 64)               # warm heap and sockets
                for what in ("up", "down", "both"): emit(o, kind="cti-" + what, peer=name, round=rd, **bridged(px, what, "--conns", 4, "--mib", a.mib))
                emit(o, kind="cti-docs", peer=name, round=rd, **bridged(px, "docs", "--conns", 32, "--duration", a.sec))
                emit(o, kind="cti-rate", peer=name, round=rd, **bridged(px, "docs", "--conns", 32, "--duration", a.sec, "--rate", a.rate))
                emit(o, kind="cti-new", peer=name, round=rd, **bridged(px, "fresh", "--conns", 8, "--duration", a.sec))
            except Exception as e: emit(o, kind="fail", peer=name, round=rd, error=repr(e))
            px.stop(); print(time.strftime("%H:%M:%S"), "cti", rd, name, flush=True)
        og.close(); http.close()
def cti_memory(a, o):
    """memory of a.bridged idle bridges, KiB each: each has carried a document there and back, and later 64 KiB both ways"""
    for rd in range(a.rounds):
        og, http = cti_origins(), Origins()
        for name in a.bridges[rd % len(a.bridges):] + a.bridges[:rd % len(a.bridges)]:
            px = Proxy(name); wait_port(CTI)
            try:
                bridged1(px, "docs", "--conns", 8, "--duration", 1); time.sleep(0.5); m0 = mem(px.pids)
                p = Bridges("hold", "--conns", a.bridged, "--busy", 64); time.sleep(1.5); m1 = mem(px.pids)
                p.go_on_for_now(); time.sleep(1.5); m2 = mem(px.pids); r = p.go_on(); n = max(1, r["established"])
                emit(o, kind="cti-memory", peer=name, round=rd, rss0_kib=m0[0], rss_kib=m1[0], kib_each=(m1[1] - m0[1]) / n, kib_each_later=(m2[1] - m0[1]) / n, **r)
            except Exception as e: emit(o, kind="fail", peer=name, round=rd, error=repr(e))
            px.stop(); print(time.strftime("%H:%M:%S"), "cti-memory", rd, name, flush=True)
        og.close(); http.close()
def streams(a, o):
    for rd in range(a.rounds):
        og = Origins()
        peers = a.peers[rd % len(a.peers):] + a.peers[:rd % len(a.peers)]
        for name in peers:
            px = Proxy(name)
            try:
                load(px, 1, "--conns", 32, "--rate", 500, "--cookies"); time.sleep(0.5)
                m0 = mem(px.pids)
                p = subprocess.Popen(["taskset", "-c", LCORE, PB, "streams", "--connect", LISTEN, "--n", str(a.n), "--rate", "700", "--hold", str(a.hold), "--ms", "3000"], stdout=subprocess.PIPE, text=True)
                l = p.stdout.readline(); time.sleep(1.0)
                c0, t0 = cpu_ns(px.pids), time.time(); m1 = mem(px.pids); time.sleep(a.hold - 2); c1, t1 = cpu_ns(px.pids), time.time(); m2 = mem(px.pids)
                r = json.loads(p.stdout.read().strip().splitlines()[-1]); p.wait()
                n = max(1, r["established"]); per = a.n * (t1 - t0) / 3.0
                emit(o, kind="streams", peer=name, round=rd, rss0_kib=m0[0], rss_kib=m2[0], kib_per_channel=(m2[1] - m0[1]) / n, kib_per_channel_at_open=(m1[1] - m0[1]) / n, est=l.strip(), cpu_us_per_heartbeat=(c1 - c0) / 1e3 / per, idle_cpu_pct=(c1 - c0) / 1e7 / (t1 - t0), **r)
            except Exception as e: emit(o, kind="fail", peer=name, round=rd, error=repr(e))
            px.stop(); print(time.strftime("%H:%M:%S"), "streams", rd, name, flush=True)
        og.close()
def ctl(i, mode):
    import ssl; c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE
    urllib.request.urlopen(f"https://{B[i]}/__ctl?mode={mode}", timeout=2, context=c).read()
def failover(a, o):
    for rd in range(a.rounds):
        peers = a.peers[rd % len(a.peers):] + a.peers[:rd % len(a.peers)]
        for name in peers:
            for mode in a.modes:
                og = Origins(); px = Proxy(name)
                try:
                    extra = ["--method", "POST", "--body", "200"] if mode.endswith("post") else []
                    dur = "40" if mode == "bothdown" else "6"
                    p = subprocess.Popen(["taskset", "-c", LCORE, PB, "load", "--connect", LISTEN, "--duration", dur, "--warmup", "0.5", "--conns", "32", "--rate", "1000", "--cookies", "--timeout", "15", *extra], stdout=subprocess.PIPE, text=True)
                    time.sleep(2.0)
                    if mode.startswith("kill"): og.p[0].kill()
                    elif mode.startswith("hang"): og.p[0].send_signal(signal.SIGSTOP)
                    elif mode.startswith("503"): ctl(0, "503")
                    elif mode == "bothdown": og.p[0].kill(); og.p[1].kill(); time.sleep(2.0); og.up(0); og.up(1)   # gap_us - 2 s = time to use them again
                    r = json.loads(p.communicate(timeout=60)[0].strip().splitlines()[-1])
                    emit(o, kind="failover", mode=mode, peer=name, round=rd, **r)
                except Exception as e: emit(o, kind="fail", peer=name, mode=mode, round=rd, error=repr(e))
                px.stop(); og.close()
            print(time.strftime("%H:%M:%S"), "failover", rd, name, flush=True)

ap = argparse.ArgumentParser(); ap.add_argument("what"); ap.add_argument("--peers", default="gateway,gateway-log,haproxy26,nginx122")
ap.add_argument("--rounds", type=int, default=5); ap.add_argument("--sec", type=float, default=3); ap.add_argument("--rate", type=float, default=2000)
ap.add_argument("--n", type=int, default=5000); ap.add_argument("--hold", type=float, default=8); ap.add_argument("--modes", default="kill,hang,503,killpost"); ap.add_argument("--out", required=True)
ap.add_argument("--mib", type=float, default=512); ap.add_argument("--bridged", type=int, default=5000); ap.add_argument("--attempts", type=int, default=3); ap.add_argument("--perf", action="store_true")
a = ap.parse_args(); a.peers = a.peers.split(","); a.bridges = [p for p in a.peers if p in BRIDGES]; a.modes = a.modes.split(",")
signal.signal(signal.SIGTERM, lambda *_: sys.exit("out of time"))
os.sched_setaffinity(0, {int(LCORE)})
import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
awake = keep_awake()
try:
    with open(a.out, "a") as o: {"smoke": smoke, "base": base, "memory": memory, "failover": failover, "cti": cti, "cti-memory": cti_memory}[a.what](a, o)
finally: awake.terminate()
