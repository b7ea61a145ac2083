// The relay in Go (grpc-go), with the interceptors that the guide shows.
//
// Usage: relay --port PORT --gateway HOST:PORT --auth HOST:PORT --client-id ID --client-secret-file FILE
package main

import (
	"context"
	"flag"
	"io"
	"log"
	"net"
	"os"
	"strings"

	"google.golang.org/grpc"
	"shop.example/calls"
	authv1 "shop.example/gen/accord/auth/v1"
	echov1 "shop.example/gen/echo/v1"
	relayv1 "shop.example/gen/relay/v1"
)

type relay struct {
	relayv1.UnimplementedRelayServiceServer
	neighbour echov1.EchoServiceClient
}

func (r *relay) Metadata(ctx context.Context, _ *relayv1.MetadataRequest) (*relayv1.MetadataResponse, error) {
	seen, err := r.neighbour.Metadata(ctx, &echov1.MetadataRequest{})
	if err != nil {
		return nil, err
	}
	left := seen.RemainingMilliseconds
	return &relayv1.MetadataResponse{Metadata: seen.Metadata, RemainingMilliseconds: left}, nil
}

func (r *relay) Slow(ctx context.Context, request *relayv1.SlowRequest) (*relayv1.SlowResponse, error) {
	_, err := r.neighbour.Slow(ctx, &echov1.SlowRequest{Milliseconds: request.Milliseconds})
	return &relayv1.SlowResponse{}, err
}

func (r *relay) Count(request *relayv1.CountRequest, stream relayv1.RelayService_CountServer) error {
	asked := &echov1.CountRequest{To: request.To, FillerBytes: request.FillerBytes}
	numbers, err := r.neighbour.Count(stream.Context(), asked)
	if err != nil {
		return err
	}
	for {
		said, err := numbers.Recv()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		} else if err := stream.Send(&relayv1.CountResponse{Number: said.Number}); err != nil {
			return err
		}
	}
}

func (r *relay) Fail(ctx context.Context, request *relayv1.FailRequest) (*relayv1.FailResponse, error) {
	_, err := r.neighbour.Fail(ctx, &echov1.FailRequest{Code: request.Code, Message: "as asked"})
	return &relayv1.FailResponse{}, err
}

func main() {
	port := flag.String("port", "", "where it serves, on loopback")
	gateway := flag.String("gateway", "", "the gateway's internal listener")
	auth := flag.String("auth", "", "auth")
	id := flag.String("client-id", "", "what it is called at auth")
	file := flag.String("client-secret-file", "", "its secret")
	flag.Parse()

	secret, err := os.ReadFile(*file)
	check(err)
	authority, err := grpc.Dial(*auth, grpc.WithInsecure())
	check(err)
	token := &calls.AccessToken{
		Auth: authv1.NewTokenServiceClient(authority), ClientID: *id, Secret: strings.TrimSpace(string(secret)),
	}
	inside, err := grpc.Dial(*gateway, grpc.WithInsecure(), grpc.WithPerRPCCredentials(token),
		grpc.WithChainUnaryInterceptor(calls.One), grpc.WithChainStreamInterceptor(calls.Stream))
	check(err)
	listener, err := net.Listen("tcp", "127.0.0.1:"+*port)
	check(err)
	server := grpc.NewServer()
	relayv1.RegisterRelayServiceServer(server, &relay{neighbour: echov1.NewEchoServiceClient(inside)})
	check(server.Serve(listener))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
