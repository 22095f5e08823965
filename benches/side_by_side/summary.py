#!/usr/bin/env python3
"""JSON lines -> tables in Markdown, median [min-max] over the rounds."""
import json, sys, statistics as st
rows = []
for f in sys.argv[1:]:
    rows += [json.loads(l) for l in open(f)]
order = ["gateway", "gateway-log", "haproxy26", "nginx122"]
def m(kind, peer, key, f="{:.0f}", sc=1.0, **flt):
    v = [r[key] * sc for r in rows if r["kind"] == kind and r.get("peer") == peer and key in r and all(r.get(a) == b for a, b in flt.items())]
    if not v: return "–"
    return f"{f.format(st.median(v))} [{f.format(min(v))}–{f.format(max(v))}]"
for r in rows:
    if "cpu_us" in r: r["proxy_util"] = r["cpu_us"] / 1e6 / (r["elapsed"] + (0.6 if r["kind"] == "rate" else 0))
peers = [p for p in order if any(r.get("peer") == p for r in rows)] + sorted({r.get("peer") for r in rows} - set(order) - {"-", None})
def table(title, head, fn):
    if all(x == "–" for p in peers for x in fn(p)): return
    print(f"### {title}\n"); print("| peer | " + " | ".join(head) + " |"); print("|---" * (len(head) + 1) + "|")
    for p in peers:
        c = fn(p)
        if any(x != "–" for x in c): print(f"| {p} | " + " | ".join(c) + " |")
    print()
n = max([r["round"] for r in rows if r["kind"] == "sat"] or [0]) + 1
table(f"(a) keep-alive, 1 kB, 64 conns closed loop; {n} rounds", ["req/s", "CPU us/req (saturated)", "proxy core busy", "p50 ms", "p99 ms", "user share"], lambda p: [m("sat", p, "rps"), m("sat", p, "cpu_us_per_req", "{:.1f}"), m("sat", p, "proxy_util", "{:.2f}"), m("sat", p, "p50_us", "{:.2f}", 1e-3), m("sat", p, "p99_us", "{:.2f}", 1e-3), m("sat", p, "user_share", "{:.2f}")])
table("(a2) fixed 2,000 req/s, 32 conns", ["CPU us/req", "p50 us", "p99 us", "p99.9 us"], lambda p: [m("rate", p, "cpu_us_per_req", "{:.1f}"), m("rate", p, "p50_us"), m("rate", p, "p99_us"), m("rate", p, "p999_us")])
table("(b) one full TLS 1.3 handshake per request (16 conns in flight)", ["handshakes/s", "CPU us/handshake+request", "p50 ms", "p99 ms"], lambda p: [m("hs", p, "rps"), m("hs", p, "cpu_us_per_req"), m("hs", p, "p50_us", "{:.1f}", 1e-3), m("hs", p, "p99_us", "{:.1f}", 1e-3)])
table("(c) event channels", ["RSS at start MiB", "KiB/channel", "CPU us/heartbeat", "established", "dropped"], lambda p: [m("streams", p, "rss0_kib", "{:.0f}", 1 / 1024), m("streams", p, "kib_per_channel", "{:.1f}"), m("streams", p, "cpu_us_per_heartbeat", "{:.1f}"), m("streams", p, "established"), m("streams", p, "dropped")])
table("(c2) memory of a connection that says nothing", ["KiB/idle keep-alive connection", "KiB/idle channel, both sides"], lambda p: [m("grown-idle", p, "kib_each", "{:.1f}"), m("grown-streams", p, "kib_each", "{:.1f}")])
table("(d) 1 MiB bodies, 8 conns", ["MiB/s", "CPU us/MiB", "=> MiB/s per busy core"], lambda p: [m("mb", p, "rps"), m("mb", p, "cpu_us_per_req"), (lambda v: f"{1e6/st.median(v):.0f}" if v else "–")([r["cpu_us_per_req"] for r in rows if r["kind"] == "mb" and r["peer"] == p])])
for mode in sorted({r.get("mode") for r in rows if r["kind"] == "failover"}):
    table(f"(e) failover: {mode}", ["client-visible errors + non-200", "longest request ms", "requests > 1 s", "longest gap with no success ms", "p99 ms"], lambda p: [
        (lambda v: f"{st.median(v):.0f} [{min(v)}–{max(v)}]" if v else "–")([r["errors"] + r["non200"] for r in rows if r["kind"] == "failover" and r["peer"] == p and r["mode"] == mode]),
        m("failover", p, "max_us", "{:.0f}", 1e-3, mode=mode), m("failover", p, "over1s", mode=mode), m("failover", p, "gap_us", "{:.0f}", 1e-3, mode=mode), m("failover", p, "p99_us", "{:.1f}", 1e-3, mode=mode)])
for kind, title, moved in [("up", "from Webex to the XSP", True), ("down", "from the XSP to Webex", True), ("both", "both ways at once", True), ("docs", "documents of 400 bytes there and back, 32 bridges, closed loop", False), ("rate", "the same at 2,000 documents/s", False), ("new", "a new bridge, both handshakes whole, and a document", False)]:
    k = "cti-" + kind
    unit = "MiB" if moved else "each"
    table(f"(f) CTI: {title}", ["MiB/s" if moved else "1/s", f"CPU us/{unit}", "of it user", "proxy core busy", "p50 us", "p99 us", "1000 instructions, user", "kernel", "errors"], lambda p: [m(k, p, "mib_per_s" if moved else "per_s"), m(k, p, "cpu_us_each", "{:.0f}" if moved else "{:.1f}"), m(k, p, "user_share", "{:.2f}"), m(k, p, "proxy_util", "{:.2f}"), m(k, p, "p50_us") if not moved else "–", m(k, p, "p99_us") if not moved else "–", m(k, p, "instructions_u_each", "{:.0f}", 1e-3), m(k, p, "instructions_k_each", "{:.0f}", 1e-3), m(k, p, "errors")])
table("(f2) CTI: memory of an idle bridge, both TLS sides", ["bridges", "KiB each", "KiB each, after 64 KiB each way", "RSS at start MiB", "errors", "dropped"], lambda p: [m("cti-memory", p, "established"), m("cti-memory", p, "kib_each", "{:.1f}"), m("cti-memory", p, "kib_each_later", "{:.1f}"), m("cti-memory", p, "rss0_kib", "{:.0f}", 1 / 1024), m("cti-memory", p, "errors"), m("cti-memory", p, "dropped")])
def against(kind, key):
    """the gateway by HAProxy, round by round"""
    by = {(r["peer"], r["round"]): r[key] for r in rows if r["kind"] == kind and key in r}
    v = [by["gateway", rd] / by["haproxy26", rd] for p, rd in by if p == "gateway" and ("haproxy26", rd) in by and by["haproxy26", rd]]
    return f"{st.median(v):.2f} [{min(v):.2f}–{max(v):.2f}]" if v else "–"
kinds = [("cti-up", "up"), ("cti-down", "down"), ("cti-both", "both"), ("cti-docs", "document"), ("cti-rate", "document at 2,000/s"), ("cti-new", "new bridge")]
if any(against(k, "cpu_us_each") != "–" for k, _ in kinds):
    print("### (f3) CTI: gateway by HAProxy, median of the rounds\n"); print("| of | " + " | ".join(t for _, t in kinds) + " |"); print("|---" * (len(kinds) + 1) + "|")
    for key, title in [("cpu_us_each", "CPU"), ("instructions_u_each", "instructions, user"), ("instructions_k_each", "instructions, kernel")]:
        v = [against(k, key) for k, _ in kinds]
        if any(x != "–" for x in v): print(f"| {title} | " + " | ".join(v) + " |")
    print()
for r in rows:
    if r["kind"] == "control_direct": print(f"control (no proxy, both ends on core 1) round {r['round']}: {r['rps']:.0f} req/s, p50 {r['p50_us']} us")
cpu = {p: [r["cpu_us_per_req"] for r in rows if r["kind"] == "sat" and r["peer"] == p] for p in peers}
others = [st.median(cpu[p]) for p in peers if cpu[p] and not p.startswith("gateway")]
if cpu.get("gateway") and others: print(f"\nCPU per request on kept connections, gateway against the better peer: {st.median(cpu['gateway']) / min(others):.2f}")
bad = [r for r in rows if r["kind"] == "fail"]; print("\nfailed runs:", [(r["peer"], r.get("mode"), r["error"]) for r in bad])
print("steal ticks total:", sum(r.get("steal_ticks", 0) for r in rows))
