//! One mistake at a time, in a file that is right otherwise, and every word that is said about it.

use super::said;

pub(super) const BASE: &str = r##"[affinity]
key_file = "affinity.key"

[certificate.public]
chain = "chain.pem"
key = "key.pem"

[trust.internal]
ca = "ca.pem"

[farm.xsp]
server_name = "xsp.example.com"
trust = "internal"
a = "xsp-a.example.com"

[[https]]
listen = ["192.0.2.1:443"]
hosts = ["app.example.com"]
certificate = "public"
farm = "xsp"
interfaces = ["xsi-actions", "dms"]
"##;

#[test]
fn the_base_has_no_mistake() {
    assert_eq!(said(BASE), "");
}

#[test]
fn each_mistake_is_told_with_its_place_and_what_would_be_right() {
    for (title, text, expected) in mistakes() {
        assert_ne!(text, BASE, "{title}");
        assert_eq!(said(&text), expected, "{title}");
    }
}

/// What each mistake is, the file with it, and what is said.
pub(super) fn mistakes() -> impl Iterator<Item = (&'static str, String, &'static str)> {
    MISTAKES.into_iter().map(|(title, before, after, expected)| {
        let text = if before.is_empty() { format!("{BASE}{after}") } else { BASE.replacen(before, after, 1) };
        (title, text, expected)
    })
}

/// What it is, what of [`BASE`] is replaced (nothing: appended), by what, and what is said.
const MISTAKES: [(&str, &str, &str, &str); 84] = [
    (
        "drain names nothing of the farm",
        r##"a = "xsp-a.example.com""##,
        r##"addresses = ["192.0.2.11", "192.0.2.12:8443"]
drain = ["192.0.2.12", "192.0.2.12:443"]"##,
        r##"warning: no XSP of the farm is meant by that, so that it drains nothing
 --> x.toml:15:24
  | drain = ["192.0.2.12", "192.0.2.12:443"]
  |                        ^^^^^^^^^^^^^^^^
help: write an address of the farm as it stands there
"##,
    ),
    (
        "drain names the whole farm",
        r##"a = "xsp-a.example.com""##,
        r##"addresses = ["192.0.2.11", "192.0.2.12:8443"]
drain = ["192.0.2.11", "192.0.2.12:8443"]"##,
        r##"warning: every XSP of the farm is drained
 --> x.toml:15:9
  | drain = ["192.0.2.11", "192.0.2.12:8443"]
  |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: new sessions and channels get 503, until one is left
"##,
    ),
    (
        "a duration without a unit",
        r##"a = "xsp-a"##,
        r##"failover.response_timeout = 2
a = "xsp-a"##,
        r##"error: the duration 2 has no unit
 --> x.toml:14:29
  | failover.response_timeout = 2
  |                             ^
help: write "2s" or "2ms"
"##,
    ),
    (
        "a duration that is none",
        "",
        r##"[limits]
write_timeout = "2 seconds"
"##,
        r##"error: "2 seconds" is not a duration
 --> x.toml:23:17
  | write_timeout = "2 seconds"
  |                 ^^^^^^^^^^^
help: write "2s"
"##,
    ),
    (
        "a duration out of range",
        "",
        r##"[limits]
write_timeout = "2h"
"##,
        r##"error: "2h" is out of range
 --> x.toml:23:17
  | write_timeout = "2h"
  |                 ^^^^
help: at least "10ms", at most "1h"
"##,
    ),
    (
        "a size in the wrong unit",
        "",
        r##"[limits]
request_head_size = "16k"
"##,
        r##"error: "16k" is not a size
 --> x.toml:23:21
  | request_head_size = "16k"
  |                     ^^^^^
help: a size is a whole number and B, KiB, MiB or GiB, such as "64KiB"
"##,
    ),
    (
        "no tries at all",
        "",
        r##"[farm.xsp.failover]
tries = 0
"##,
        r##"error: 0 is out of range
 --> x.toml:23:9
  | tries = 0
  |         ^
help: at least 1, at most 10
"##,
    ),
    (
        "a number in quotes",
        r##"trust = "internal""##,
        r##"trust = "internal"
port = "443""##,
        r##"error: expected a whole number from 1 to 65535, found the string "443"
 --> x.toml:14:8
  | port = "443"
  |        ^^^^^
help: write 443 without quotes
"##,
    ),
    (
        "a port alone",
        r##""192.0.2.1:443""##,
        "443",
        r##"error: the port 443 has no address
 --> x.toml:17:11
  | listen = [443]
  |           ^^^
help: write "0.0.0.0:443"
"##,
    ),
    (
        "an address without a port",
        r##""192.0.2.1:443""##,
        r##""192.0.2.1""##,
        r##"error: "192.0.2.1" is not an address and a port
 --> x.toml:17:11
  | listen = ["192.0.2.1"]
  |           ^^^^^^^^^^^
help: the port is missing: write "192.0.2.1:443", or another port
"##,
    ),
    (
        "a name to listen on",
        "",
        r##"[admin]
listen = "localhost:9901"
"##,
        r##"error: "localhost:9901" is not an address and a port
 --> x.toml:23:10
  | listen = "localhost:9901"
  |          ^^^^^^^^^^^^^^^^
help: write "127.0.0.1:9901"
"##,
    ),
    (
        "a wildcard host",
        r##""app.example.com""##,
        r##""*.example.com""##,
        r##"error: the wildcard "*.example.com" is not served
 --> x.toml:18:10
  | hosts = ["*.example.com"]
  |          ^^^^^^^^^^^^^^^
help: name each host, such as "webex.example.com": a request for any other name must get no answer (a certificate may be a wildcard)
"##,
    ),
    (
        "a wildcard for a client",
        r##"certificate = "public"
"##,
        r##"certificate = "public"
client_trust = "internal"
client_names = ["*.webex.com"]
"##,
        r##"error: the wildcard "*.webex.com" names no client
 --> x.toml:21:17
  | client_names = ["*.webex.com"]
  |                 ^^^^^^^^^^^^^
help: write each name as it is in the clients' certificates, as CN or DNS name, such as "bwcticlient.webex.com"
"##,
    ),
    (
        "an address for a client",
        r##"certificate = "public"
"##,
        r##"certificate = "public"
client_trust = "internal"
client_names = ["192.0.2.1"]
"##,
        r##"error: "192.0.2.1" is not a host name: it is an IP address
 --> x.toml:21:17
  | client_names = ["192.0.2.1"]
  |                 ^^^^^^^^^^^
help: clients are known by names in their certificates; `allow` takes addresses
"##,
    ),
    (
        "a URL for a host",
        r##""app.example.com""##,
        r##""https://app.example.com/""##,
        r##"error: "https://app.example.com/" is not a host name: it is a URL
 --> x.toml:18:10
  | hosts = ["https://app.example.com/"]
  |          ^^^^^^^^^^^^^^^^^^^^^^^^^^
help: the name alone: "app.example.com"
"##,
    ),
    (
        "an SRV name as an A name",
        r##"a = "xsp-a"##,
        r##"a = "_xsi._tcp.xsp-a"##,
        r##"error: "_xsi._tcp.xsp-a.example.com" is not a host name: labels that start with '_' belong to SRV names
 --> x.toml:14:5
  | a = "_xsi._tcp.xsp-a.example.com"
  |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: if XSPs are to be found by SRV, write srv = "_xsi._tcp.xsp-a.example.com"
"##,
    ),
    (
        "a plain name as an SRV name",
        r##"a = "xsp-a"##,
        r##"srv = "xsp-a"##,
        r##"error: "xsp-a.example.com" is not an SRV name: it does not start with _service._tcp
 --> x.toml:14:7
  | srv = "xsp-a.example.com"
  |       ^^^^^^^^^^^^^^^^^^^
help: "_service._tcp.name", such as "_xsi-client._tcp.example.com"; if XSPs are to be found by A records, write a = "xsp-a.example.com"
"##,
    ),
    (
        "a range with bits too many",
        "",
        r##"allow = ["192.0.2.7/24"]
"##,
        r##"error: "192.0.2.7/24" has bits beyond its prefix
 --> x.toml:22:10
  | allow = ["192.0.2.7/24"]
  |          ^^^^^^^^^^^^^^
help: "192.0.2.0/24" for the whole range, "192.0.2.7" for the one address
"##,
    ),
    (
        "a published range misspelt",
        "",
        r##"allow = ["webex-us"]
"##,
        r##"error: "webex-us" is not the name of a range
 --> x.toml:22:10
  | allow = ["webex-us"]
  |          ^^^^^^^^^^
help: did you mean "webex-usa"?
"##,
    ),
    (
        "a published range as a proxy",
        "",
        r##"trusted_proxies = ["webex-usa"]
"##,
        r##"error: the range "webex-usa" can't be used here
 --> x.toml:22:20
  | trusted_proxies = ["webex-usa"]
  |                    ^^^^^^^^^^^
help: Webex connects as a client; write the proxies' addresses, such as "192.0.2.0/24"
"##,
    ),
    (
        "an interface misspelt",
        r##""dms""##,
        r##""xsi-event""##,
        r##"error: "xsi-event" is not an interface
 --> x.toml:21:30
  | interfaces = ["xsi-actions", "xsi-event"]
  |                              ^^^^^^^^^^^
help: did you mean "xsi-events"?
"##,
    ),
    (
        "CTI among the interfaces",
        r##""dms""##,
        r##""cti""##,
        r##"error: "cti" is not an interface
 --> x.toml:21:30
  | interfaces = ["xsi-actions", "cti"]
  |                              ^^^^^
help: CTI is not HTTP: it has a section of its own, [[cti]]
"##,
    ),
    (
        "an OpenSSL name for a suite",
        "",
        r##"[https.tls]
cipher_suites = ["ECDHE-RSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256"]
"##,
        r##"error: "ECDHE-RSA-AES128-GCM-SHA256" is OpenSSL's name for TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
 --> x.toml:23:18
  | cipher_suites = ["ECDHE-RSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256"]
  |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: write the IANA name: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
"##,
    ),
    (
        "a suite of Cisco's list that rustls lacks",
        "",
        r##"[https.tls]
cipher_suites = ["TLS_DHE_RSA_WITH_AES_256_CBC_SHA256"]
"##,
        r##"error: "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256" is not available: rustls has no DHE (finite-field) key exchange, though Cisco lists such suites; use ECDHE
 --> x.toml:23:18
  | cipher_suites = ["TLS_DHE_RSA_WITH_AES_256_CBC_SHA256"]
  |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: there are TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
"##,
    ),
    (
        "a version below 1.2",
        "",
        r##"[https.tls]
min_version = "1.1"
"##,
        r##"error: "1.1" is not a TLS version
 --> x.toml:23:15
  | min_version = "1.1"
  |               ^^^^^
help: Webex negotiates nothing below 1.2, and neither does the gateway
"##,
    ),
    (
        "a version without quotes",
        "",
        r##"[https.tls]
min_version = 1.2
"##,
        r##"error: expected a TLS version such as "1.2", found the number 1.2
 --> x.toml:23:15
  | min_version = 1.2
  |               ^^^
help: write "1.2"
"##,
    ),
    (
        "an ambiguous path",
        "",
        r##"[https.interface.dms]
paths = ["/dms/../x/"]
"##,
        r##"error: "/dms/../x/" is not a path prefix: a path has no '.' or '..' segment
 --> x.toml:23:10
  | paths = ["/dms/../x/"]
  |          ^^^^^^^^^^^^
"##,
    ),
    (
        "the XSPs' own cookie",
        "key_file",
        r##"cookie = "JSESSIONID"
key_file"##,
        r##"error: the cookie "JSESSIONID" is the XSPs' own
 --> x.toml:2:10
  | cookie = "JSESSIONID"
  |          ^^^^^^^^^^^^
help: choose a name that no XSP uses, such as "XSPGATE"
"##,
    ),
    (
        "an unknown key",
        "hosts =",
        "host =",
        r##"error: unknown key `host`
 --> x.toml:18:1
  | host = ["app.example.com"]
  | ^^^^
help: did you mean `hosts`?
"##,
    ),
    (
        "a key of another section",
        r##"a = "xsp-a"##,
        r##"tries = 3
a = "xsp-a"##,
        r##"error: unknown key `tries`
 --> x.toml:14:1
  | tries = 3
  | ^^^^^
help: it is a key of `[farm.NAME.failover]`, `[https.interface.NAME.failover]`
"##,
    ),
    (
        "a section misspelt",
        "[affinity]",
        "[afinity]",
        r##"error: unknown key `afinity`
 --> x.toml:1:2
  | [afinity]
  |  ^^^^^^^
help: did you mean `affinity`?
"##,
    ),
    (
        "a section where blocks belong",
        "[[https]]",
        "[https]",
        r##"error: expected a list of tables, found a table
 --> x.toml:16:1
  | [https]
  | ^^^^^^^
help: there may be several: write [[https]]
"##,
    ),
    (
        "blocks where a section belongs",
        "[affinity]",
        "[[affinity]]",
        r##"error: expected one table, found a list of tables
 --> x.toml:1:1
  | [[affinity]]
  | ^^^^^^^^^^^^
help: there is only one: write [affinity]
"##,
    ),
    (
        "a section without its name",
        "[trust.internal]",
        "[trust]",
        r##"error: expected a table, found the string "ca.pem"
 --> x.toml:9:6
  | ca = "ca.pem"
  |      ^^^^^^^^
help: each has a name of your choice: write [trust.NAME]
"##,
    ),
    (
        "one value where a list belongs",
        r##"["192.0.2.1:443"]"##,
        r##""192.0.2.1:443""##,
        r##"error: expected a list, found the string "192.0.2.1:443"
 --> x.toml:17:10
  | listen = "192.0.2.1:443"
  |          ^^^^^^^^^^^^^^^
help: put it in brackets: ["192.0.2.1:443"]
"##,
    ),
    (
        "a list where one value belongs",
        r##"farm = "xsp"
interfaces"##,
        r##"farm = ["xsp"]
interfaces"##,
        r##"error: expected the name of a section, found a list
 --> x.toml:20:8
  | farm = ["xsp"]
  |        ^^^^^^^
help: write "xsp" without brackets
"##,
    ),
    (
        "a list where a table belongs",
        "",
        r##"[farm.xsp.tls]
min_version = "1.3"
[farm.xsp]
"##,
        r##"error: duplicate key
 --> x.toml:24:7
  | [farm.xsp]
  |       ^^^
help: `xsp` is here a second time; keep one
"##,
    ),
    (
        "a text without quotes",
        r##""xsp-a.example.com""##,
        "xsp-a.example.com",
        r##"error: a text needs quotes
 --> x.toml:14:5
  | a = xsp-a.example.com
  |     ^^^^^^^^^^^^^^^^^
help: write "xsp-a.example.com"
"##,
    ),
    (
        "a text without its end",
        r##""xsp-a.example.com""##,
        r##""xsp-a.example.com"##,
        r##"error: invalid basic string, expected `"`
 --> x.toml:14:23
  | a = "xsp-a.example.com
  |                       ^
"##,
    ),
    (
        "a key without a value",
        r##"a = "xsp-a.example.com""##,
        "a =",
        r##"error: the value is missing
 --> x.toml:14:4
  | a =
  |    ^
"##,
    ),
    (
        "a key twice",
        r##"trust = "internal""##,
        r##"trust = "internal"
trust = "other""##,
        r##"error: duplicate key
 --> x.toml:14:1
  | trust = "other"
  | ^^^^^
help: `trust` is here a second time; keep one
"##,
    ),
    (
        "no key where one must be",
        r##"server_name = "xsp.example.com"
"##,
        "",
        r##"error: [farm.xsp] has no `server_name`
 --> x.toml:11:1
  | [farm.xsp]
  | ^^^^^^^^^^
help: the name that the XSPs' certificates hold, such as "xsp.example.com"
"##,
    ),
    (
        "no hosts",
        r##"hosts = ["app.example.com"]"##,
        "hosts = []",
        r##"error: `hosts` is empty
 --> x.toml:18:9
  | hosts = []
  |         ^^
help: the names that clients use, such as hosts = ["webex-app-xsp.example.com"]
"##,
    ),
    (
        "a farm that is not there",
        r##"farm = "xsp""##,
        r##"farm = "xps""##,
        r##"error: there is no [farm.xps]
 --> x.toml:20:8
  | farm = "xps"
  |        ^^^^^
help: did you mean "xsp"?
"##,
    ),
    (
        "no place for the XSPs",
        r##"a = "xsp-a.example.com"
"##,
        "",
        r##"error: [farm.xsp] does not say where the XSPs are
 --> x.toml:11:1
  | [farm.xsp]
  | ^^^^^^^^^^
help: one of a = "name", srv = "_service._tcp.name", addresses = ["ip", "ip:port"]
"##,
    ),
    (
        "two places for the XSPs",
        r##"a = "xsp-a.example.com""##,
        r##"a = "xsp-a.example.com"
addresses = ["192.0.2.9"]"##,
        r##"error: `a` and `addresses` both say where the XSPs are
 --> x.toml:15:13
  | addresses = ["192.0.2.9"]
  |             ^^^^^^^^^^^^^
help: one of a = "name", srv = "_service._tcp.name", addresses = ["ip", "ip:port"]
"##,
    ),
    (
        "a place and sites",
        "",
        r##"[[farm.xsp.site]]
name = "a"
a = "xsp-b.example.com"
"##,
        r##"error: the farm has both `a` and sites
 --> x.toml:14:5
  | a = "xsp-a.example.com"
  |     ^^^^^^^^^^^^^^^^^^^
help: move it into a [[farm.NAME.site]] of its own
"##,
    ),
    (
        "a former name of a farm that is there",
        r##"a = "xsp-a.example.com""##,
        r##"a = "xsp-a.example.com"
formerly = ["old", "xsp"]"##,
        r##"error: "xsp" is the farm's present name
 --> x.toml:15:12
  | formerly = ["old", "xsp"]
  |            ^^^^^^^^^^^^^^
help: `formerly` is for names that it had before
"##,
    ),
    (
        "a former name that is named twice",
        r##"a = "xsp-a.example.com""##,
        r##"a = "xsp-a.example.com"
formerly = ["old", "old"]"##,
        r##"error: "old" is named twice
 --> x.toml:15:12
  | formerly = ["old", "old"]
  |            ^^^^^^^^^^^^^^
help: keep one
"##,
    ),
    (
        "a former name of another farm that is there",
        r##"a = "xsp-a.example.com"

[[https]]"##,
        r##"a = "xsp-a.example.com"

[farm.ysp]
a = "xsp-b.example.com"
formerly = "xsp"

[[passthrough]]
listen = ["192.0.2.2:443"]
hosts = ["y.example.com"]
farm = "ysp"

[[https]]"##,
        r##"error: [farm.xsp] is still there
 --> x.toml:18:12
  | formerly = "xsp"
  |            ^^^^^
help: `formerly` is for the names of farms that are gone
"##,
    ),
    (
        "a former name that is no name",
        r##"a = "xsp-a.example.com""##,
        r##"a = "xsp-a.example.com"
formerly = 7"##,
        r##"error: expected a name, or a list of names, found the integer 7
 --> x.toml:15:12
  | formerly = 7
  |            ^
"##,
    ),
    (
        "no certificate in a list of them",
        r##"certificate = "public"
farm = "xsp"
interfaces"##,
        r##"certificate = []
farm = "xsp"
interfaces"##,
        r##"warning: nothing uses [certificate.public]
 --> x.toml:4:14
  | [certificate.public]
  |              ^^^^^^

error: `certificate` is empty
 --> x.toml:19:15
  | certificate = []
  |               ^^
help: the [certificate.NAME] that is shown to clients
"##,
    ),
    (
        "a certificate twice, and one that is not there",
        r##"certificate = "public"
farm = "xsp"
interfaces"##,
        r##"certificate = ["public", "public", "pubic"]
farm = "xsp"
interfaces"##,
        r##"error: the certificate is named twice
 --> x.toml:19:15
  | certificate = ["public", "public", "pubic"]
  |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: keep one

error: there is no [certificate.pubic]
 --> x.toml:19:15
  | certificate = ["public", "public", "pubic"]
  |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: did you mean "public"?
"##,
    ),
    (
        "two farms that were the same",
        r##"a = "xsp-a.example.com"

[[https]]"##,
        r##"a = "xsp-a.example.com"
formerly = "old"

[farm.ysp]
a = "xsp-b.example.com"
formerly = "old"

[[passthrough]]
listen = ["192.0.2.2:443"]
hosts = ["y.example.com"]
farm = "ysp"

[[https]]"##,
        r##"error: [farm.xsp] was formerly "old", too
 --> x.toml:19:12
  | formerly = "old"
  |            ^^^^^
help: only one farm can keep its sessions: remove the name from the other
"##,
    ),
    (
        "two sites of one name",
        r##"a = "xsp-a.example.com""##,
        r##"[[farm.xsp.site]]
name = "a"
a = "xsp-a.example.com"
[[farm.xsp.site]]
name = "a"
a = "xsp-b.example.com""##,
        r##"error: the farm has two sites called "a"
 --> x.toml:18:8
  | name = "a"
  |        ^^^
help: give each its own name
"##,
    ),
    (
        "advance_after not below response_timeout",
        "",
        r##"[farm.xsp.failover]
advance_after = "2s"
"##,
        r##"error: advance_after "2s" is not below response_timeout "2s"
 --> x.toml:23:17
  | advance_after = "2s"
  |                 ^^^^
help: a second XSP is asked while the first may still answer; advance_after = "off" waits for the first
"##,
    ),
    (
        "a response_timeout below the default advance_after",
        "",
        r##"[farm.xsp.failover]
response_timeout = "550ms"
"##,
        r##"error: advance_after "600ms" is not below response_timeout "550ms"
 --> x.toml:23:20
  | response_timeout = "550ms"
  |                    ^^^^^^^
help: a second XSP is asked while the first may still answer; advance_after = "off" waits for the first
"##,
    ),
    (
        "an interface's failover against the farm's",
        "",
        r##"[https.interface.dms.failover]
response_timeout = "300ms"
advance_after = "off"
"##,
        r##"error: connect_timeout "500ms" is above response_timeout "300ms"
 --> x.toml:23:20
  | response_timeout = "300ms"
  |                    ^^^^^^^
help: response_timeout covers an attempt from its start, connect included
"##,
    ),
    (
        "min_ttl above max_ttl",
        "",
        r##"[dns]
min_ttl = "10m"
"##,
        r##"error: min_ttl "10m" is above max_ttl "5m"
 --> x.toml:23:11
  | min_ttl = "10m"
  |           ^^^^^
help: the shortest time between look-ups first, then the longest
"##,
    ),
    (
        "min_version above max_version",
        "",
        r##"[https.tls]
min_version = "1.3"
max_version = "1.2"
"##,
        r##"error: min_version is above max_version
 --> x.toml:23:15
  | min_version = "1.3"
  |               ^^^^^
help: leave both out for "1.2" to "1.3"
"##,
    ),
    (
        "no suite for a version",
        "",
        r##"[https.tls]
cipher_suites = ["TLS_AES_128_GCM_SHA256"]
"##,
        r##"warning: TLS 1.2 can use none of these suites
 --> x.toml:23:17
  | cipher_suites = ["TLS_AES_128_GCM_SHA256"]
  |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^
help: add a TLS_ECDHE_... suite, or set min_version = "1.3"
"##,
    ),
    (
        "no suite that a fresh XSP speaks",
        "",
        r##"[farm.xsp.tls]
cipher_suites = ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"]
"##,
        r##"warning: none of these suites is one that a fresh XSP speaks in TLS 1.2
 --> x.toml:23:17
  | cipher_suites = ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"]
  |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: add "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", unless the XSPs were set up for others
"##,
    ),
    (
        "no group for TLS 1.2",
        "",
        r##"[https.tls]
max_version = "1.2"
groups = ["X25519MLKEM768"]
"##,
        r##"error: TLS 1.2 can use none of these groups
 --> x.toml:24:10
  | groups = ["X25519MLKEM768"]
  |          ^^^^^^^^^^^^^^^^^^
help: add "x25519" or "secp256r1", or set min_version = "1.3"
"##,
    ),
    (
        "an override of an interface that is not served",
        "",
        r##"[https.interface.auth-service]
allow = ["192.0.2.0/24"]
"##,
        r##"error: "auth-service" is not among this block's interfaces
 --> x.toml:22:18
  | [https.interface.auth-service]
  |                  ^^^^^^^^^^^^
help: add it to `interfaces` in line 21, or move this table below the block that serves it
"##,
    ),
    (
        "two interfaces under one path",
        "",
        r##"[https.interface.dms]
paths = ["/com.broadsoft.XSI-actions"]
"##,
        r##"error: "/com.broadsoft.XSI-actions" leads to two interfaces: xsi-actions and dms
 --> x.toml:23:10
  | paths = ["/com.broadsoft.XSI-actions"]
  |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: give each interface paths of its own
"##,
    ),
    (
        "two client certificates at once",
        "",
        r##"client_trust = "internal"
[trust.webex]
ca = "webex.pem"
[https.interface.dms]
client_trust = "webex"
"##,
        r##"error: another client_trust of this block is "internal"
 --> x.toml:26:16
  | client_trust = "webex"
  |                ^^^^^^^
help: a client shows one certificate only: name the same CAs, or make two blocks of it
"##,
    ),
    (
        "a host twice on one address",
        "",
        r##"[[https]]
listen = ["192.0.2.1:443"]
hosts = ["APP.example.com"]
certificate = "public"
farm = "xsp"
interfaces = ["dms"]
"##,
        r##"error: app.example.com is already served on 192.0.2.1:443 by [[https]] in line 18
 --> x.toml:24:10
  | hosts = ["APP.example.com"]
  |          ^^^^^^^^^^^^^^^^^
help: a host belongs to one block of an address
"##,
    ),
    (
        "two default blocks of one address",
        "",
        r##"[[https]]
listen = ["192.0.2.2:443", "192.0.2.3:443"]
hosts = ["a.example.com"]
default = true
certificate = "public"
farm = "xsp"
interfaces = ["dms"]
[[passthrough]]
listen = ["192.0.2.2:443", "192.0.2.3:443"]
hosts = ["b.example.com"]
default = true
farm = "xsp"
"##,
        r##"error: 192.0.2.2:443 has two default blocks: [[https]] in line 25, and this [[passthrough]]
 --> x.toml:32:11
  | default = true
  |           ^^^^
help: only one block of an address can serve clients without a name: keep `default = true` in that one
"##,
    ),
    (
        "a default that is no boolean",
        "",
        r##"[[https]]
listen = ["192.0.2.2:443"]
hosts = ["a.example.com"]
default = "yes"
certificate = "public"
farm = "xsp"
interfaces = ["dms"]
"##,
        r##"error: expected true or false, found the string "yes"
 --> x.toml:25:11
  | default = "yes"
  |           ^^^^^
"##,
    ),
    (
        "a host in HTTPS and in a pass-through",
        "",
        r##"[[passthrough]]
listen = ["192.0.2.1:443"]
hosts = ["app.example.com"]
farm = "xsp"
"##,
        r##"error: app.example.com is already served on 192.0.2.1:443 by [[https]] in line 18
 --> x.toml:24:10
  | hosts = ["app.example.com"]
  |          ^^^^^^^^^^^^^^^^^
help: a host belongs to one block of an address
"##,
    ),
    (
        "CTI on the address of HTTPS",
        "",
        r##"[trust.webex]
ca = "webex.pem"
[farm.cti]
server_name = "xsp.example.com"
trust = "internal"
a = "xsp-a.example.com"
certificate = "public"
[[cti]]
listen = ["192.0.2.1:443"]
certificate = "public"
client_trust = "webex"
farm = "cti"
"##,
        r##"error: 192.0.2.1:443 is taken by [[https]] in line 17
 --> x.toml:30:11
  | listen = ["192.0.2.1:443"]
  |           ^^^^^^^^^^^^^^^
help: only [[https]] and [[passthrough]] can share an address; choose another port
"##,
    ),
    (
        "every address and one of them",
        "",
        r##"[admin]
listen = "0.0.0.0:443"
"##,
        r##"error: 0.0.0.0:443 collides with 192.0.2.1:443 in line 17
 --> x.toml:23:10
  | listen = "0.0.0.0:443"
  |          ^^^^^^^^^^^^^
help: one of the two stands for every address; write the same address in both places, or name each address

warning: the admin listener can be reached from other machines, in the clear and without credentials
 --> x.toml:23:10
  | listen = "0.0.0.0:443"
  |          ^^^^^^^^^^^^^
help: "127.0.0.1:9901", unless a firewall stands before it
"##,
    ),
    (
        "CTI without client certificates",
        "",
        r##"[[cti]]
listen = ["192.0.2.1:8012"]
certificate = "public"
farm = "xsp"
"##,
        r##"warning: the farm serves CTI and HTTPS, which XSPs have on different ports
 --> x.toml:11:1
  | [farm.xsp]
  | ^^^^^^^^^^
help: make two farms of it, one with port = 8012

error: [[cti]] has no `client_trust`
 --> x.toml:22:1
  | [[cti]]
  | ^^^^^^^
help: the [trust.NAME] with the chain from Partner Hub: CTI is always mutual TLS

warning: [farm.xsp] has no `certificate`, and XSPs demand one on their CTI port
 --> x.toml:25:8
  | farm = "xsp"
  |        ^^^^^
help: name the gateway's client certificate in the farm
"##,
    ),
    (
        "a farm that is the gateway itself",
        r##"a = "xsp-a.example.com""##,
        r##"addresses = ["192.0.2.1"]"##,
        r##"error: the farm's address 192.0.2.1:443 is the gateway's own, see line 17
 --> x.toml:11:1
  | [farm.xsp]
  | ^^^^^^^^^^
help: requests would come back for ever
"##,
    ),
    (
        "a farm that nothing uses",
        "",
        r##"[farm.other]
server_name = "xsp.example.com"
trust = "internal"
a = "xsp-b.example.com"
"##,
        r##"warning: nothing uses [farm.other]
 --> x.toml:22:7
  | [farm.other]
  |       ^^^^^
"##,
    ),
    (
        "no affinity keys",
        r##"[affinity]
key_file = "affinity.key"
"##,
        "",
        r##"warning: there is no [affinity] key_file: a random key is made at each start
 --> x.toml
help: sessions won't survive a restart or be shared between gateways; make a key with `xspgate certs affinity-key`
"##,
    ),
    (
        "an admin listener for everybody",
        "",
        r##"[admin]
listen = "0.0.0.0:9901"
"##,
        r##"warning: the admin listener can be reached from other machines, in the clear and without credentials
 --> x.toml:23:10
  | listen = "0.0.0.0:9901"
  |          ^^^^^^^^^^^^^^
help: "127.0.0.1:9901", unless a firewall stands before it
"##,
    ),
    (
        "Call Settings on a host without Xsi-Actions",
        r##""xsi-actions", "dms""##,
        r##""call-settings""##,
        r##"warning: app.example.com serves call-settings without xsi-actions
 --> x.toml:18:10
  | hosts = ["app.example.com"]
  |          ^^^^^^^^^^^^^^^^^
help: Call Settings Webview must have the same host name as Xsi-Actions
"##,
    ),
    (
        "a pool that lets nothing get idle",
        "",
        r##"[farm.xsp.pool]
max_age = "10s"
"##,
        r##"warning: idle_timeout "15s" is above max_age "10s"
 --> x.toml:23:11
  | max_age = "10s"
  |           ^^^^^
help: no connection gets old enough to be idle for so long
"##,
    ),
    (
        "a collector that is called over TLS",
        "",
        r##"[traces]
endpoint = "https://otel.example.com:4318"
"##,
        r##"error: "https://otel.example.com:4318" is no collector's URL: the gateway sends traces in the clear only
 --> x.toml:23:12
  | endpoint = "https://otel.example.com:4318"
  |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: run a collector on this host, "http://127.0.0.1:4318", and have it pass them on over TLS
"##,
    ),
    (
        "a collector without a port",
        "",
        r##"[traces]
endpoint = "http://otel.example.com"
"##,
        r##"error: "http://otel.example.com" is no collector's URL: it has no port
 --> x.toml:23:12
  | endpoint = "http://otel.example.com"
  |            ^^^^^^^^^^^^^^^^^^^^^^^^^
help: 4318 is what collectors listen on for OTLP over HTTP
"##,
    ),
    (
        "a sample in percent",
        "",
        r##"[traces]
endpoint = "http://127.0.0.1:4318"
sample = "1%"
"##,
        r##"error: expected a whole number from 1 to 1000000, found the string "1%"
 --> x.toml:24:10
  | sample = "1%"
  |          ^^^^
"##,
    ),
    (
        "a collector's port for gRPC",
        "",
        r##"[traces]
endpoint = "http://127.0.0.1:4317"
"##,
        r##"warning: 4317 is where collectors take OTLP over gRPC, and the gateway speaks OTLP over HTTP
 --> x.toml:23:12
  | endpoint = "http://127.0.0.1:4317"
  |            ^^^^^^^^^^^^^^^^^^^^^^^
help: that is 4318, unless the collector says otherwise
"##,
    ),
    (
        "a user timeout that leaves time for one probe",
        "",
        r##"[tcp]
keepalive_idle = "60s"
user_timeout = "75s"
"##,
        r##"warning: with user_timeout "75s", one lost probe ends a silent connection
 --> x.toml:24:16
  | user_timeout = "75s"
  |                ^^^^^
help: the kernel goes by it instead of keepalive_probes: make it longer than keepalive_idle and keepalive_interval together, "75s"
"##,
    ),
];
