#!/usr/bin/env bash
# Makes vectors/ anew, with stock tools alone. The keys are thrown away.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# A certificate authority of two steps and a signer, as docs/package-format.md
# asks for, and one signer that is made for TLS servers.
days=36500
req() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$2" 2>/dev/null; }
issue() { openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days $days -sha256 -extfile <(printf '%b' "$3") -out "$1.pem" 2>/dev/null; }
ca='basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n'
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.pem -days $days -sha256 \
  -subj '/CN=test vectors root' -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
req mid 'test vectors intermediate'; issue mid root "$ca"
req leaf 'test vectors signer'; issue leaf mid 'basicConstraints=CA:false\nkeyUsage=digitalSignature\nextendedKeyUsage=codeSigning\n'
req tls 'test vectors web server'; issue tls mid 'basicConstraints=CA:false\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth\n'

printf 'engine\n' >libmpengine.so
printf 'base\n' >mpavbase.vdm
printf 'delta\n' >mpavdlta.vdm
files="libmpengine.so mpavbase.vdm mpavdlta.vdm"

# list EXTRA prints the list, with EXTRA lines between.
list() {
  echo '{"type":"mdatp-definitions/1","product":"mdatp","platform":"linux","arch":"x86_64","rings":["production"],'
  echo '"engineVersion":"1.1.24080.9","definitionVersion":"1.407.417.0",'
  echo '"released":"2026-11-23T06:00:00Z","issued":"2026-11-23T08:00:00Z","expires":"2126-12-07T08:00:00Z",'
  echo "$1\"files\":["
  sep=
  for f in $files; do
    printf '%s{"name":"%s","size":%d,"sha256":"%s"}' "$sep" "$f" "$(stat -c %s "$f")" "$(sha256sum "$f" | cut -d' ' -f1)"
    sep=,
  done
  echo ']}'
}
sign() { openssl cms -sign -nodetach -binary -nosmimecap -outform DER -md sha256 -in package.json -signer "$1.pem" -inkey "$1.key" -certfile mid.pem -out META/package.p7m; }
pack() { rm -f updates.zip; zip -q -X -D updates.zip $files; zip -q -X -D -0 updates.zip META/package.p7m; }
vector() { # NAME VERDICT FILES...
  mkdir -p "$here/vectors/$1"
  echo "$2" >"$here/vectors/$1/verdict"
  cp "${@:3}" "$here/vectors/$1/"
}

rm -rf "$here/vectors"
mkdir META "$here/vectors"
cp root.pem "$here/"

list '' >package.json; sign leaf; pack
vector good good updates.zip

list '"future":{"deep":[1,2]},' >package.json; sign leaf; pack
vector unknown-key good updates.zip

list '"product":"other",' >package.json; sign leaf; pack
vector duplicate-key list_malformed updates.zip

list '' >package.json; sign tls; pack
vector tls-signer signer_untrusted updates.zip

sign leaf; printf 'x' >>META/package.p7m; pack
vector trailing-byte signature_invalid updates.zip

sign leaf; printf 'other\n' >mpavdlta.vdm; pack; printf 'delta\n' >mpavdlta.vdm
vector other-content content_mismatch updates.zip

sign leaf; pack; printf 'x' >extra.vdm
zip -q -X -D updates.zip extra.vdm # behind META
vector entry-behind-list package_malformed updates.zip

sign leaf; rm -f updates.zip; zip -q updates.zip $files # extra fields, and nothing below META/
vector unsigned signature_missing updates.zip
cp META/package.p7m updates.zip.p7m
vector sidecar good updates.zip updates.zip.p7m

sign tls; pack; sign leaf; cp META/package.p7m updates.zip.p7m
vector bad-list-beside-good-sidecar signer_untrusted updates.zip updates.zip.p7m

printf '<html><body>Please log in</body></html>\n%4096s' ' ' >updates.zip
vector captive-portal not_a_package updates.zip
