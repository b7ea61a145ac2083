// Package calls carries on, to calls of neighbours, what came with the call that is being served.
package calls

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

const pushback = "grpc-retry-pushback-ms"

// The deadline and the cancellation are carried on by the handler's context itself.
var carriedOn = []string{"x-accord-passport", "x-accord-criticality", "x-request-id", "traceparent", "tracestate"}

// One is the interceptor of calls with one answer, for grpc.WithChainUnaryInterceptor.
func One(ctx context.Context, method string, request, answer interface{}, connection *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	var trailer metadata.MD
	err := invoke(carryOn(ctx), method, request, answer, connection, append(options, grpc.Trailer(&trailer))...)
	return passBack(ctx, err, trailer)
}

// Stream is that of calls with a stream, for grpc.WithChainStreamInterceptor.
func Stream(ctx context.Context, description *grpc.StreamDesc, connection *grpc.ClientConn, method string,
	open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := open(carryOn(ctx), description, connection, method, options...)
	return &neighbour{stream, ctx}, err
}

type neighbour struct {
	grpc.ClientStream
	served context.Context
}

func (n *neighbour) RecvMsg(message interface{}) error {
	if err := n.ClientStream.RecvMsg(message); err != nil {
		return passBack(n.served, err, n.Trailer())
	}
	return nil
}

func carryOn(ctx context.Context) context.Context {
	served, _ := metadata.FromIncomingContext(ctx)
	already, _ := metadata.FromOutgoingContext(ctx)
	for _, key := range carriedOn {
		if values := served.Get(key); len(values) == 1 && len(already.Get(key)) == 0 {
			ctx = metadata.AppendToOutgoingContext(ctx, key, values[0])
		}
	}
	return ctx
}

// passBack tells the caller of the served call whether to retry. Where no call is served, there is nobody to tell.
func passBack(ctx context.Context, err error, trailer metadata.MD) error {
	if values := trailer.Get(pushback); err != nil && len(values) == 1 {
		_ = grpc.SetTrailer(ctx, metadata.Pairs(pushback, values[0]))
	}
	return err
}
