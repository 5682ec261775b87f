// Command grpc is an example of a gRPC service: it converts degrees Celsius. The balancer takes TLS
// and speaks gRPC (HTTP/2 without TLS) to the tasks.
package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, ":8080"); err != nil {
		slog.Error("ended", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	s.RegisterService(&degrees, nil)
	h := health.NewServer()
	healthpb.RegisterHealthServer(s, h)
	go func() {
		<-ctx.Done()
		h.Shutdown() // the balancer hears of it before the connections end
		s.GracefulStop()
	}()
	slog.Info("listening", "address", l.Addr().String())
	return s.Serve(l)
}

// degrees is the service example.Degrees with one method, Fahrenheit, which takes and returns a
// google.protobuf.DoubleValue. A service with messages of its own has this made by protoc.
var degrees = grpc.ServiceDesc{
	ServiceName: "example.Degrees",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Fahrenheit", Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var celsius wrapperspb.DoubleValue
		if err := decode(&celsius); err != nil {
			return nil, err
		}
		return fahrenheit(celsius.Value)
	}}},
}

func fahrenheit(celsius float64) (*wrapperspb.DoubleValue, error) {
	if celsius < -273.15 {
		return nil, status.Errorf(codes.InvalidArgument, "%g °C is below absolute zero", celsius)
	}
	return wrapperspb.Double(celsius*9/5 + 32), nil
}
