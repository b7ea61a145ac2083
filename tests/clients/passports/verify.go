// Verifies a passport as a service does: with the keys that auth publishes, for itself and nobody else. Nothing but Go's own library
// is needed for keys of Ed25519, which are auth's default.
package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

type claims struct {
	Iss, Sub, Aud, Jti string
	Exp, Iat, Nbf      int64
	Act                struct{ Sub string }
}

// fetchKeys reads the published keys. Keep them, and read them again where a passport names one that is not there.
func fetchKeys(url string) (map[string]ed25519.PublicKey, error) {
	answer, err := (&http.Client{Timeout: 5 * time.Second}).Get(url)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var set struct{ Keys []struct{ Kid, Crv, X string } }
	if err := json.NewDecoder(answer.Body).Decode(&set); err != nil {
		return nil, err
	}
	keys := map[string]ed25519.PublicKey{}
	for _, key := range set.Keys {
		if x, err := base64.RawURLEncoding.DecodeString(key.X); err == nil && key.Crv == "Ed25519" && len(x) == ed25519.PublicKeySize {
			keys[key.Kid] = x
		}
	}
	return keys, nil
}

func decode(segment string, into any) error {
	bytes, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	if err != nil {
		return err
	}
	return json.Unmarshal(bytes, into)
}

func verify(passport string, keys map[string]ed25519.PublicKey, issuer, service string) (claims, error) {
	var found claims
	parts := strings.Split(passport, ".")
	if len(passport) > 4096 || len(parts) != 3 {
		return found, errors.New("not a token")
	}
	var header struct{ Typ, Alg, Kid string }
	if err := decode(parts[0], &header); err != nil {
		return found, err
	}
	key, known := keys[header.Kid]
	if header.Typ != "accord-passport+jwt" || header.Alg != "EdDSA" || !known {
		return found, errors.New("not a passport, or of an unknown key")
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || !ed25519.Verify(key, []byte(parts[0]+"."+parts[1]), signature) {
		return found, errors.New("the signature is wrong")
	}
	if err := decode(parts[1], &found); err != nil {
		return found, err
	}
	now := time.Now().Unix()
	switch {
	case found.Iss != issuer || found.Aud != service:
		return found, errors.New("from or for somebody else")
	case now >= found.Exp+10 || now < found.Nbf-10 || now < found.Iat-10:
		return found, errors.New("not valid now")
	case found.Sub == "" || found.Jti == "" || found.Act.Sub == "":
		return found, errors.New("a claim is missing")
	}
	return found, nil
}

func main() {
	jwks, issuer, service, passport := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	keys, err := fetchKeys(jwks)
	if err == nil {
		var found claims
		if found, err = verify(passport, keys, issuer, service); err == nil {
			fmt.Println(found.Sub, found.Act.Sub)
			return
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
