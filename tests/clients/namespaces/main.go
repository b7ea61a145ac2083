// A Go client of a namespace (grpc-go): puts a value, changes it by compare-and-set, and is told of a conflict.
//
// Usage: main --target HOST:PORT --token TOKEN
//
// Prints one JSON object: what each step brought.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	cachev1 "shop.example/gen/accord/cache/v1"
)

func main() {
	target, token := flag.String("target", "", "the gateway"), flag.String("token", "", "an access token")
	flag.Parse()
	seen, err := journey(*target, *token)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(seen); err != nil {
		log.Fatal(err)
	}
}

func journey(target, token string) (map[string]any, error) {
	connection, err := grpc.Dial(target, grpc.WithInsecure())
	if err != nil {
		return nil, err
	}
	carts := cachev1.NewCacheServiceClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)

	milk := &cachev1.PutRequest{Namespace: "carts", Key: "ada", Value: []byte("milk"), Ttl: durationpb.New(time.Minute)}
	put, err := carts.Put(ctx, milk)
	if err != nil {
		return nil, err
	}
	got, err := carts.Get(ctx, &cachev1.GetRequest{Namespace: "carts", Key: "ada"})
	if err != nil {
		return nil, err
	}
	// Once more, unless somebody else has changed it since.
	bread := &cachev1.PutRequest{Namespace: "carts", Key: "ada", Value: []byte("bread"), ExpectedVersion: &got.Entry.Version}
	changed, err := carts.Put(ctx, bread)
	if err != nil {
		return nil, err
	}
	_, conflict := carts.Put(ctx, bread)
	return map[string]any{
		"value":         string(got.Entry.Value),
		"same_version":  got.Entry.Version == put.Version,
		"other_version": changed.Version != put.Version,
		"conflict":      status.Code(conflict).String(),
	}, nil
}
