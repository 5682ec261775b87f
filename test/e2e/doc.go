// Package e2e runs slipway as people do: the built binary, real processes, a local AWS whose tasks
// really run, and clients that others wrote.
package e2e
