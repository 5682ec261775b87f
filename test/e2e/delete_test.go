//go:build linux

package e2e

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// copiesGo deletes a service whose secrets were copied: a dry run names all and changes nothing, the
// copies go with the service, a secret that somebody else made under such a name stays, and the next
// deployment has its copies back.
func (w *team) copiesGo(secret string) {
	w.t.Helper()
	api := secretsmanager.NewFromConfig(aws.Config{Region: "us-east-1", BaseEndpoint: &w.endpoint, Credentials: credentials.NewStaticCredentialsProvider("local", "local", "")})
	theirs := "slipway/demo/iplookup-qa/by-hand"
	if _, err := api.CreateSecret(w.t.Context(), &secretsmanager.CreateSecretInput{Name: &theirs, SecretString: aws.String("theirs")}); err != nil {
		w.t.Fatal(err)
	}
	names := func() []string {
		w.t.Helper()
		out, err := api.ListSecrets(w.t.Context(), &secretsmanager.ListSecretsInput{})
		if err != nil {
			w.t.Fatal(err)
		}
		var names []string
		for _, s := range out.SecretList {
			names = append(names, aws.ToString(s.Name))
		}
		slices.Sort(names)
		return names
	}
	all := names()
	copies := []string{"slipway/demo/iplookup-qa/iplookup.ASKED", "slipway/demo/iplookup-qa/iplookup.VAULTED"}
	if !slices.Equal(all, append([]string{theirs}, copies...)) {
		w.t.Fatalf("secrets before: %q", all)
	}
	dry := w.slipway("delete", "qa", "--dry-run")
	w.says(dry, "would delete service iplookup-qa", "would delete secret copy "+copies[0], "would delete secret copy "+copies[1], "would delete listener rule", "would delete target group",
		"would delete log group", "would delete task definition iplookup-qa:1", "would delete alarm slipway-demo-iplookup-qa-default-churn", "would delete event rule", "would delete role")
	if strings.Contains(dry.stdout, theirs) {
		w.t.Errorf("a secret that is not ours: %s", dry)
	}
	if w.service() == nil || !slices.Equal(names(), all) {
		w.t.Error("the dry run deleted something")
	}
	var told struct {
		Data struct {
			Environment string
			Resources   []struct{ Resource, Name string }
		}
	}
	lines := strings.Split(strings.TrimSpace(w.slipway("delete", "qa", "--dry-run", "--json").stdout), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &told); err != nil || told.Data.Environment != "qa" || len(told.Data.Resources) < 10 {
		w.t.Errorf("as JSON: %q: %+v, %v", lines, told, err)
	}
	gone := w.slipway("delete", "qa", "--yes")
	w.says(gone, "secret copy "+copies[0], "can be restored for 7 days", "iplookup is deleted from qa")
	if left := names(); !slices.Equal(left, []string{theirs}) {
		w.t.Errorf("secrets after: %q", left)
	}
	w.says(w.slipway("delete", "qa", "--dry-run"), "nothing of iplookup is in qa")
	w.slipway("deploy", "qa")
	if back := names(); !slices.Equal(back, all) {
		w.t.Errorf("secrets after it was deployed again: %q", back)
	}
	w.slipway("delete", "qa", "--yes", "--keep-secrets")
	if kept := names(); !slices.Equal(kept, all) {
		w.t.Errorf("secrets that were to be kept: %q", kept)
	}
	if strings.Contains(dry.stdout+gone.stdout+gone.stderr, secret) {
		w.t.Error("a secret is in the output")
	}
}
