#!/bin/bash
# private CA, front cert (what clients see), origin cert (what the proxy must verify); all ECDSA P-256.
# For CTI: Webex's CA, intermediate and client (RSA 2048), and the operator's own client certificate.
# Into the folder named by the first argument; keys are for its owner's eyes only.
set -e; umask 077; mkdir -p "$1"; cd "$1"
EC="ec -pkeyopt ec_paramgen_curve:P-256"
CA_USE="basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\n"; LEAF_USE="keyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:false\n"
# NAME KEY CN: signs itself
mkca(){ openssl req -x509 -newkey $2 -nodes -keyout $1.key -out $1.pem -days 3650 -subj "/CN=$3" -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null; }
# NAME KEY ISSUER CN EXTENSIONS: NAME.chain.pem goes up to what ISSUER.chain.pem or ISSUER.pem has
sign(){ openssl req -newkey $2 -nodes -keyout $1.key -out $1.csr -subj "/CN=$4" 2>/dev/null
 openssl x509 -req -in $1.csr -CA $3.pem -CAkey $3.key -CAcreateserial -days 825 -out $1.pem -extfile <(printf "$5") 2>/dev/null
 local up=$3.chain.pem; [ -f $up ] || up=$3.pem; cat $1.pem $up > $1.chain.pem; cat $1.chain.pem $1.key > $1.both.pem; }
mkca ca "$EC" ca
sign front "$EC" ca xsp.example.test "subjectAltName=DNS:xsp.example.test,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n$LEAF_USE"
sign origin "$EC" ca xsp.example.test "subjectAltName=DNS:xsp.example.test,DNS:xsp1.example.test,DNS:xsp2.example.test,IP:127.0.0.11,IP:127.0.0.12\nextendedKeyUsage=serverAuth\n$LEAF_USE"
# What XSPs demand: BroadWorks' own key usage, this name and no other.
sign cti-client "$EC" ca bwcticlient.webex.com "extendedKeyUsage=clientAuth,1.3.6.1.4.1.6431.1.1.8.2.1.3\n$LEAF_USE"
mkca webex-root rsa:2048 "Webex Root CA 1"; sign webex-intermediate rsa:2048 webex-root "Webex Client CA 3" "$CA_USE"
# As downloaded: roots and intermediates in one file.
cat webex-intermediate.pem webex-root.pem > webex.pem
sign webex-client rsa:2048 webex-intermediate bwcticlient.webex.com "subjectAltName=DNS:bwcticlient.webex.com\nextendedKeyUsage=clientAuth,serverAuth\n$LEAF_USE"
# A server leaves the root out of what it shows, and so does a client.
cat webex-client.pem webex-intermediate.pem > webex-client.chain.pem
