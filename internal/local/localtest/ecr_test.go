package localtest_test

import (
	"encoding/base64"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

// TestReplicationBetweenRegions has the AWS CLI set replication up; what is pushed is pulled from the
// other region's own registry, also after a restart.
func TestReplicationBetweenRegions(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the AWS CLI")
	}
	if runtime.GOOS != "linux" {
		t.Skip("loopback has one address here")
	}
	dir := t.TempDir()
	a := localtest.Start(t, localtest.Dir(dir))
	a.Must(t, "ecr", "put-replication-configuration", "--replication-configuration", `{"rules":[{"destinations":[{"region":"eu-west-1","registryId":"000000000000"}],"repositoryFilters":[{"filter":"prod","filterType":"PREFIX_MATCH"}]}]}`)
	repo := a.Must(t, "ecr", "create-repository", "--repository-name", "prod/app", "--query", "repository")
	im, err := random.Image(1024, 2)
	if err != nil {
		t.Fatal(err)
	}
	ref := func(uri string) (name.Reference, remote.Option) {
		t.Helper()
		r, err := name.ParseReference(uri+":v1", name.Insecure) // as docker takes all of 127.0.0.0/8
		if err != nil {
			t.Fatal(err)
		}
		token := a.Must(t, "ecr", "get-authorization-token", "--query", "authorizationData[0]")["authorizationToken"].(string)
		raw, err := base64.StdEncoding.DecodeString(token)
		if err != nil {
			t.Fatal(err)
		}
		user, password, _ := strings.Cut(string(raw), ":")
		return r, remote.WithAuth(&authn.Basic{Username: user, Password: password})
	}
	here, login := ref(repo["repositoryUri"].(string))
	if err := remote.Write(here, im, login); err != nil {
		t.Fatal(err)
	}
	localtest.Eventually(t, "the image is replicated", func() bool {
		out := a.Must(t, "ecr", "describe-image-replication-status", "--repository-name", "prod/app", "--image-id", "imageTag=v1")
		statuses, _ := out["replicationStatuses"].([]any)
		return len(statuses) == 1 && statuses[0].(map[string]any)["status"] == "COMPLETE"
	})
	pull := func() {
		t.Helper()
		far := a.Must(t, "ecr", "describe-repositories", "--region", "eu-west-1", "--repository-names", "prod/app", "--query", "repositories[0]")
		if arn := far["repositoryArn"]; arn != "arn:aws:ecr:eu-west-1:000000000000:repository/prod/app" || far["repositoryUri"] == repo["repositoryUri"] {
			t.Errorf("%v", far)
		}
		there, login := ref(far["repositoryUri"].(string))
		got, err := remote.Image(there, login)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := im.Digest()
		if d, err := got.Digest(); err != nil || d != want {
			t.Errorf("pulled %s, %v; pushed %s", d, err, want)
		}
		layers, err := got.Layers()
		if err != nil || len(layers) != 2 {
			t.Errorf("%d layers, %v", len(layers), err)
		}
		for _, l := range layers {
			r, err := l.Compressed()
			if err != nil {
				t.Fatal(err)
			}
			_ = r.Close()
		}
	}
	pull()
	a.Stop()
	a = localtest.Start(t, localtest.Dir(dir))
	pull()
}
