// Verifies an access token with the published keys, by go-jose and by golang-jwt as their projects publish them, and prints what each
// found as JSON. golang-jwt reads no JWK set: it has its keys from go-jose.
//
// Usage: verify AUTH TOKEN
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	golangjwt "github.com/golang-jwt/jwt"
	"gopkg.in/square/go-jose.v2"
	josejwt "gopkg.in/square/go-jose.v2/jwt"
)

type found struct {
	Sub  string `json:"sub"`
	Type any    `json:"type"`
}

func get(url string, into any) {
	answer, err := http.Get(url)
	check(err)
	defer answer.Body.Close()
	check(json.NewDecoder(answer.Body).Decode(into))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func goJose(text string, keys jose.JSONWebKeySet, issuer string) found {
	token, err := josejwt.ParseSigned(text)
	check(err)
	var claims josejwt.Claims
	check(token.Claims(keys, &claims))
	check(claims.Validate(josejwt.Expected{Issuer: issuer, Audience: josejwt.Audience{"accord"}, Time: time.Now()}))
	return found{claims.Subject, token.Headers[0].ExtraHeaders[jose.HeaderType]}
}

func golangJWT(text string, keys jose.JSONWebKeySet, issuer string) found {
	parser := golangjwt.Parser{ValidMethods: []string{"EdDSA", "ES256"}}
	claims := golangjwt.MapClaims{}
	token, err := parser.ParseWithClaims(text, claims, func(token *golangjwt.Token) (any, error) {
		kid, _ := token.Header["kid"].(string)
		named := keys.Key(kid)
		if len(named) != 1 {
			return nil, errors.New("an unknown key")
		}
		return named[0].Key, nil
	})
	check(err)
	if !claims.VerifyIssuer(issuer, true) || !claims.VerifyAudience("accord", true) {
		check(errors.New("from or for somebody else"))
	}
	subject, _ := claims["sub"].(string)
	return found{subject, token.Header["typ"]}
}

func main() {
	auth, text := os.Args[1], os.Args[2]
	var metadata struct {
		Issuer string
		Keys   string `json:"jwks_uri"`
	}
	get(auth+"/.well-known/oauth-authorization-server", &metadata)
	var keys jose.JSONWebKeySet
	get(metadata.Keys, &keys)
	check(json.NewEncoder(os.Stdout).Encode(map[string]found{
		"go-jose":    goJose(text, keys, metadata.Issuer),
		"golang-jwt": golangJWT(text, keys, metadata.Issuer),
	}))
}
