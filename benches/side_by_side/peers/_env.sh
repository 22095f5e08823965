# every peer script gets these (the driver sets them); a peer must exec the proxy in the foreground
BENCH=${BENCH:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
CERTS=${CERTS:?the folder with the certificates}
LISTEN=${LISTEN:-127.0.0.1:8443}          # front address, TLS
B1=${B1:-127.0.0.11:9443}; B2=${B2:-127.0.0.12:9443}   # upstreams, TLS
CTI=${CTI:-127.0.0.1:8012}                # CTI's front address, mutual TLS
C1=${C1:-127.0.0.11:9012}; C2=${C2:-127.0.0.12:9012}   # CTI's upstreams, mutual TLS
SNI=${SNI:-xsp.example.test}              # name to verify on the upstreams (and Host)
CA=${CA:-$CERTS/ca.pem}             # CA that signed the upstream certs
CERT=${CERT:-$CERTS/front.chain.pem}; KEY=${KEY:-$CERTS/front.key}; BOTH=${BOTH:-$CERTS/front.both.pem}
WEBEX=${WEBEX:-$CERTS/webex.pem}        # CAs of CTI's clients
SHOWN=${SHOWN:-$CERTS/cti-client}     # the proxy's own certificate towards CTI's upstreams: .chain.pem, .key, .both.pem
WORK=${WORK:-$(mktemp -d)}; mkdir -p "$WORK"; cd "$WORK"
ulimit -n 20000
