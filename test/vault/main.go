// Command vault is a Vault server for tests: HashiCorp Vault's own core and HTTP interface, with its storage in
// memory and the key-value secrets engine, version 2, at secret/. It is not the vault command: without the
// plugins, the agent and the user interface it builds in minutes.
//
// It prints one JSON object (address, root_token, unseal_key) and serves on loopback until it is ended.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/command/server"
	"github.com/hashicorp/vault/helper/namespace"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "vault:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	log := hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Error})
	storage, err := inmem.NewInmem(nil, log)
	if err != nil {
		return err
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical: storage, DisableMlock: true, DisableCache: true, Logger: log, RawConfig: new(server.Config), BuiltinRegistry: builtins{},
		LogicalBackends: map[string]logical.Factory{"kv": kv.Factory},
	})
	if err != nil {
		return fmt.Errorf("making the core: %w", err)
	}
	made, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}, RecoveryConfig: &vault.SealConfig{}})
	if err != nil {
		return fmt.Errorf("initializing: %w", err)
	}
	key := made.SecretShares[0]
	if _, err := core.Unseal(append([]byte{}, key...)); err != nil {
		return fmt.Errorf("unsealing: %w", err)
	}
	mount := &logical.Request{Operation: logical.UpdateOperation, ClientToken: made.RootToken, Path: "sys/mounts/secret", Data: map[string]any{"type": "kv", "options": map[string]string{"version": "2"}}}
	if r, err := core.HandleRequest(namespace.RootContext(ctx), mount); err != nil || r.IsError() {
		return fmt.Errorf("mounting secret/: %w, %v", err, r)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core, ListenerConfig: &configutil.Listener{Address: "127.0.0.1"}})}
	go func() { <-ctx.Done(); _ = srv.Close() }()
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"address": "http://" + l.Addr().String(), "root_token": made.RootToken, "unseal_key": hex.EncodeToString(key)}); err != nil {
		return err
	}
	if err := srv.Serve(l); ctx.Err() == nil {
		return err
	}
	return core.Shutdown()
}
