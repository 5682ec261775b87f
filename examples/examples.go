// Package examples holds services to copy. They are in the binary as well: the demo ships one.
package examples

import "embed"

// IPLookup is the service of the demo.
//
//go:embed iplookup/*.go iplookup/slipway.yaml iplookup/README.md
var IPLookup embed.FS
