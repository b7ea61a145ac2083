// A gateway as one writes it by hand with Gin and grpc-go: checks a JWT, counts a rate limit, makes a gRPC call of a JSON one.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"math/big"
	"net/http"
	"os"
	"strings"
	"sync"

	benchv1 "bench/v1"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const (
	issuer   = "https://accord.local"
	audience = "accord"
	requests = 1000000
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "where it serves")
	upstream := flag.String("upstream", "127.0.0.1:9090", "where it calls")
	jwks := flag.String("jwks", "jwks.json", "the key that tokens are signed with")
	alg := flag.String("alg", "EdDSA", "what they are signed by")
	flag.Parse()

	key, err := readKey(*jwks)
	if err != nil {
		log.Fatal(err)
	}
	connection, err := grpc.Dial(*upstream, grpc.WithInsecure())
	if err != nil {
		log.Fatal(err)
	}
	client := benchv1.NewBenchServiceClient(connection)

	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	router.UseH2C = true
	router.Use(gin.Recovery(), authenticate(*alg, key), limit())
	router.GET("/v1/limited/:id", func(c *gin.Context) {
		answer, err := client.GetLimited(c.Request.Context(), &benchv1.GetItemRequest{Id: c.Param("id")})
		respond(c, answer, err)
	})
	router.GET("/v1/cached/:id", func(c *gin.Context) {
		answer, err := client.GetCached(c.Request.Context(), &benchv1.GetItemRequest{Id: c.Param("id")})
		respond(c, answer, err)
	})
	router.GET("/v1/near/:id", func(c *gin.Context) {
		answer, err := client.GetNear(c.Request.Context(), &benchv1.GetItemRequest{Id: c.Param("id")})
		respond(c, answer, err)
	})
	router.POST("/v1/limited", sendItem(client.PutLimited))
	router.POST("/v1/echo", sendItem(client.Echo))
	log.Fatal(http.ListenAndServe(*listen, router.Handler()))
}

type call func(context.Context, *benchv1.Item, ...grpc.CallOption) (*benchv1.Item, error)

// sendItem makes the call with the item that the body is.
func sendItem(call call) gin.HandlerFunc {
	return func(c *gin.Context) {
		body, err := io.ReadAll(c.Request.Body)
		item := &benchv1.Item{}
		if err == nil {
			err = protojson.Unmarshal(body, item)
		}
		if err != nil {
			c.AbortWithStatusJSON(http.StatusBadRequest, gin.H{"message": err.Error()})
			return
		}
		answer, err := call(c.Request.Context(), item)
		respond(c, answer, err)
	}
}

func respond(c *gin.Context, answer proto.Message, err error) {
	if err != nil {
		c.AbortWithStatusJSON(http.StatusBadGateway, gin.H{"message": status.Convert(err).Message()})
		return
	}
	document, err := protojson.Marshal(answer)
	if err != nil {
		c.AbortWithStatusJSON(http.StatusBadGateway, gin.H{"message": err.Error()})
		return
	}
	c.Data(http.StatusOK, "application/json", document)
}

func authenticate(alg string, key interface{}) gin.HandlerFunc {
	parser := jwt.Parser{ValidMethods: []string{alg}}
	return func(c *gin.Context) {
		text := strings.TrimPrefix(c.GetHeader("Authorization"), "Bearer ")
		claims := jwt.MapClaims{}
		_, err := parser.ParseWithClaims(text, claims, func(*jwt.Token) (interface{}, error) { return key, nil })
		if err == nil && !(claims.VerifyIssuer(issuer, true) && claims.VerifyAudience(audience, true)) {
			err = errors.New("the token is for somebody else")
		}
		if err != nil {
			c.AbortWithStatusJSON(http.StatusUnauthorized, gin.H{"message": err.Error()})
			return
		}
		subject, _ := claims["sub"].(string)
		c.Set("subject", subject)
		c.Next()
	}
}

func limit() gin.HandlerFunc {
	var limiters sync.Map
	return func(c *gin.Context) {
		subject := c.GetString("subject")
		limiter, known := limiters.Load(subject)
		if !known {
			limiter, _ = limiters.LoadOrStore(subject, rate.NewLimiter(requests, requests))
		}
		if !limiter.(*rate.Limiter).Allow() {
			c.AbortWithStatusJSON(http.StatusTooManyRequests, gin.H{"message": "too many requests"})
			return
		}
		c.Next()
	}
}

func readKey(file string) (interface{}, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []struct{ Kty, X, Y string }
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	key := set.Keys[0]
	x, err := base64.RawURLEncoding.DecodeString(key.X)
	if err != nil || key.Kty == "OKP" {
		return ed25519.PublicKey(x), err
	}
	y, err := base64.RawURLEncoding.DecodeString(key.Y)
	point := ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int).SetBytes(x), Y: new(big.Int).SetBytes(y)}
	return &point, err
}
