package main

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestFahrenheit(t *testing.T) {
	for celsius, want := range map[float64]float64{0: 32, 100: 212, -40: -40} {
		if got, err := fahrenheit(celsius); err != nil || got.Value != want {
			t.Errorf("%g °C: %v, %v; want %g", celsius, got, err, want)
		}
	}
	if _, err := fahrenheit(-300); status.Code(err) != codes.InvalidArgument {
		t.Errorf("-300 °C: %v", err)
	}
}
