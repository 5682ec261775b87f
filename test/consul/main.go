// Command consul is the entry of a Consul image for tests, as docker-entrypoint.sh is of HashiCorp's: it gives the
// agent a folder for its data and its further configuration (CONSUL_LOCAL_CONFIG), and becomes /bin/consul, which
// this module builds too (go build github.com/hashicorp/consul): version 1.12, because a dependency of later ones
// fails Go's checksum verification.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

func main() {
	data, config := "/consul/data", "/consul/config"
	err := os.MkdirAll(data, 0o700)
	if err == nil {
		err = os.MkdirAll(config, 0o700)
	}
	if local := os.Getenv("CONSUL_LOCAL_CONFIG"); err == nil && local != "" {
		err = os.WriteFile(filepath.Join(config, "local.json"), []byte(local), 0o600)
	}
	if err == nil {
		args := append([]string{"consul"}, os.Args[1:]...)
		if len(args) > 1 && args[1] == "agent" {
			args = append([]string{"consul", "agent", "-data-dir=" + data, "-config-dir=" + config}, args[2:]...)
		}
		err = syscall.Exec("/bin/consul", args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
