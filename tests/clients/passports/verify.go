// Verifies passports as a service does: with the keys that auth publishes, for itself and nobody else. Nothing but Go's own library
// is needed.
//
// Usage: verify JWKS ISSUER SERVICE, with a passport on each line of the input; each is answered with a line.
package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// How long keys are kept: one that auth has destroyed is forgotten by then.
	lifespan = 5 * time.Minute
	// Between two questions for keys that are not known, whatever passports name.
	coolDown = 5 * time.Second
)

type claims struct {
	Iss, Sub, Aud, Jti string
	Exp, Iat, Nbf      int64
	Act                struct{ Sub string }
}

// key verifies a signature by the one algorithm that it is for.
type key struct {
	algorithm string
	verifies  func(message, signature []byte) bool
}

// keySet holds the published keys.
type keySet struct {
	url            string
	mutex          sync.Mutex
	keys           map[string]key
	fetched, asked time.Time
}

// get is the key of this name; the keys are read again where they are old, or where there is none of it.
func (set *keySet) get(kid string) (key, error) {
	set.mutex.Lock()
	defer set.mutex.Unlock()
	if time.Since(set.fetched) >= lifespan {
		if err := set.fetch(); err != nil {
			return key{}, err
		}
	}
	found, known := set.keys[kid]
	if !known && time.Since(set.asked) >= coolDown {
		set.asked = time.Now()
		if err := set.fetch(); err != nil {
			return key{}, err
		}
		found, known = set.keys[kid]
	}
	if !known {
		return key{}, errors.New("of an unknown key")
	}
	return found, nil
}

func (set *keySet) fetch() error {
	answer, err := (&http.Client{Timeout: 5 * time.Second}).Get(set.url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var published struct {
		Keys []struct{ Kid, Crv, X, Y string }
	}
	if answer.StatusCode != http.StatusOK {
		return errors.New("the keys can't be read: " + answer.Status)
	}
	if err := json.NewDecoder(answer.Body).Decode(&published); err != nil {
		return err
	}
	keys := map[string]key{}
	for _, jwk := range published.Keys {
		x, errX := base64.RawURLEncoding.DecodeString(jwk.X)
		y, errY := base64.RawURLEncoding.DecodeString(jwk.Y)
		switch {
		case errX != nil || errY != nil || len(x) != 32:
		case jwk.Crv == "Ed25519":
			keys[jwk.Kid] = ed25519Key(x)
		case jwk.Crv == "P-256" && len(y) == 32 && elliptic.P256().IsOnCurve(number(x), number(y)):
			keys[jwk.Kid] = p256Key(x, y)
		}
	}
	set.keys, set.fetched = keys, time.Now()
	return nil
}

func ed25519Key(x []byte) key {
	return key{"EdDSA", func(message, signature []byte) bool { return ed25519.Verify(x, message, signature) }}
}

func p256Key(x, y []byte) key {
	public := &ecdsa.PublicKey{Curve: elliptic.P256(), X: number(x), Y: number(y)}
	return key{"ES256", func(message, signature []byte) bool {
		digest := sha256.Sum256(message)
		// The two numbers side by side (RFC 7518, 3.4).
		return len(signature) == 64 && ecdsa.Verify(public, digest[:], number(signature[:32]), number(signature[32:]))
	}}
}

func number(bytes []byte) *big.Int {
	return new(big.Int).SetBytes(bytes)
}

func decode(segment string, into any) error {
	bytes, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	if err != nil {
		return err
	}
	return json.Unmarshal(bytes, into)
}

func verify(passport string, keys *keySet, issuer, service string) (claims, error) {
	var found claims
	parts := strings.Split(passport, ".")
	if len(passport) > 4096 || len(parts) != 3 {
		return found, errors.New("not a token")
	}
	var header struct{ Typ, Alg, Kid string }
	if err := decode(parts[0], &header); err != nil {
		return found, err
	}
	if header.Typ != "accord-passport+jwt" {
		return found, errors.New("not a passport")
	}
	key, err := keys.get(header.Kid)
	if err != nil {
		return found, err
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || header.Alg != key.algorithm || !key.verifies([]byte(parts[0]+"."+parts[1]), signature) {
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
	jwks, issuer, service := os.Args[1], os.Args[2], os.Args[3]
	// Made once: it keeps the keys.
	keys := &keySet{url: jwks}
	passports := bufio.NewScanner(os.Stdin)
	for passports.Scan() {
		found, err := verify(passports.Text(), keys, issuer, service)
		if err != nil {
			fmt.Println("refused:", err)
			continue
		}
		fmt.Println(found.Sub, found.Act.Sub)
	}
}
