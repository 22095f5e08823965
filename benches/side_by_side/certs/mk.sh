#!/bin/bash
# private CA, front cert (what clients see), origin cert (what the proxy must verify); all ECDSA P-256
# into the folder named by the first argument; keys are for its owner's eyes only
set -e; umask 077; mkdir -p "$1"; cd "$1"
mkca(){ openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $1.key -out $1.pem -days 3650 -subj "/CN=$1" -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null; }
leaf(){ openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $1.key -out $1.csr -subj "/CN=$3" 2>/dev/null
 openssl x509 -req -in $1.csr -CA $2.pem -CAkey $2.key -CAcreateserial -days 825 -out $1.crt -extfile <(printf "subjectAltName=$4\nextendedKeyUsage=$5\nkeyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:false\n") 2>/dev/null; cat $1.crt $2.pem > $1.chain.pem; cat $1.crt $1.key > $1.both.pem; }
mkca ca; leaf front ca xsp.example.test "DNS:xsp.example.test,DNS:localhost,IP:127.0.0.1" serverAuth
leaf origin ca xsp.example.test "DNS:xsp.example.test,DNS:xsp1.example.test,DNS:xsp2.example.test,IP:127.0.0.11,IP:127.0.0.12" serverAuth
