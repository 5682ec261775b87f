package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func newProviderCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "provider",
		Short:   "This program as a Terraform provider",
		Example: "  slipway provider install",
	}
	cmd.AddCommand(newProviderInstall())
	return cmd
}

func newProviderInstall() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Put the provider into a filesystem mirror for Terraform and OpenTofu",
		Long: `Copies this program as the provider slipway/slipway into a filesystem mirror and writes a CLI
configuration that uses it. Your own Terraform configuration is not touched: set the variable that
is printed where you want it.`,
		Args: cobra.NoArgs,
		Example: `  slipway provider install
  slipway provider install --dir ./terraform-plugins`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" { // a place that stays: somebody's variable names it
				cache, err := os.UserCacheDir()
				if err != nil {
					return fmt.Errorf("finding the user's cache folder: %w", err)
				}
				dir = filepath.Join(cache, "slipway")
			}
			t := toolchain{dir: dir}
			if err := t.install(); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Installed slipway/slipway %s in %s\n\n  export TF_CLI_CONFIG_FILE=%s\n", Version, t.mirror(), t.config())
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "folder (default: slipway in the user's cache folder)")
	return cmd
}
