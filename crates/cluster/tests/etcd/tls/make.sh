#!/usr/bin/env bash
# Makes the certificates of the tests anew. They protect nothing.
set -euo pipefail
cd "$(dirname "$0")"
key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"; }
key ca.key
openssl req -x509 -new -key ca.key -days 36500 -subj "/CN=test authority" -out ca.pem
for who in server client; do
    key "$who.key"
    openssl req -new -key "$who.key" -subj "/CN=$who" |
        openssl x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 36500 -out "$who.pem" -extfile <(
            printf 'basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n'
        )
done
rm -f ca.key ca.srl
