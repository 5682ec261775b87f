package main

import (
	"github.com/hashicorp/vault/sdk/helper/consts"

	kv "github.com/hashicorp/vault-plugin-secrets-kv"
)

// builtins are the plugins that are built in: the key-value engine.
type builtins struct{}

func (builtins) Contains(name string, t consts.PluginType) bool {
	return name == "kv" && t == consts.PluginTypeSecrets
}

func (b builtins) Get(name string, t consts.PluginType) (func() (any, error), bool) {
	return func() (any, error) { return kv.Factory, nil }, b.Contains(name, t)
}

func (builtins) Keys(t consts.PluginType) []string {
	if t == consts.PluginTypeSecrets {
		return []string{"kv"}
	}
	return nil
}

func (b builtins) DeprecationStatus(name string, t consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, b.Contains(name, t)
}

func (builtins) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
