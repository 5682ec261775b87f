//go:build linux

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-ecs/slipway/internal/registry/imagetest"
)

const found = `service: iplookup
build: { ko: . }
cluster: demo
launch: fargate
cpu: 256
memory: 512
container: { port: 8080 }
discovery: { kind: consul, servers: ["%s"], image: %q, tags: [%s] }
environments:
  qa: { count: 2 }
`

// consulImage pushes an image of Consul's real agent: the programs of test/consul, in the folder that SLIPWAY_CONSUL
// names.
func (w *team) consulImage() string {
	w.t.Helper()
	dir := os.Getenv("SLIPWAY_CONSUL")
	if dir == "" {
		missing(w.t, "needs Consul: make consul, then SLIPWAY_CONSUL=$PWD/bin/consul")
	}
	if _, err := w.ecr.CreateRepository(w.t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String("consul")}); err != nil {
		w.t.Fatal(err)
	}
	auth, err := w.ecr.GetAuthorizationToken(w.t.Context(), &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		w.t.Fatal(err)
	}
	token, err := base64.StdEncoding.DecodeString(*auth.AuthorizationData[0].AuthorizationToken)
	if err != nil {
		w.t.Fatal(err)
	}
	user, password, _ := strings.Cut(string(token), ":")
	return imagetest.Push(w.t, strings.TrimPrefix(w.endpoint, "http://")+"/consul:test", user, password,
		map[string]string{"entry": filepath.Join(dir, "entry"), "bin/consul": filepath.Join(dir, "consul")}, v1.Config{Entrypoint: []string{"/entry"}})
}

// consulServer runs a Consul server as a task and returns its address: that on this machine's network, which the
// agent says, and not the one of the subnet that the local AWS tells.
func (w *team) consulServer(image string) string {
	w.t.Helper()
	ctx := w.t.Context()
	var net struct {
		Subnets []struct {
			SubnetID string `json:"SubnetId"`
		}
	}
	w.aws(&net, "ec2", "describe-subnets")
	w.aws(nil, "logs", "create-log-group", "--log-group-name", "consul")
	if _, err := w.ecs.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: aws.String("consul"), NetworkMode: ecstypes.NetworkModeAwsvpc,
		RequiresCompatibilities: []ecstypes.Compatibility{ecstypes.CompatibilityFargate}, Cpu: aws.String("256"), Memory: aws.String("512"), ExecutionRoleArn: aws.String("arn:aws:iam::000000000000:role/consul"),
		ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: aws.String("consul"), Image: &image,
			LogConfiguration: &ecstypes.LogConfiguration{LogDriver: ecstypes.LogDriverAwslogs, Options: map[string]string{"awslogs-group": "consul", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "s"}},
			Command:          []string{"agent", "-server", "-bootstrap-expect=1", "-bind={{ GetPrivateIP }}", "-client=0.0.0.0"}}}}); err != nil {
		w.t.Fatal(err)
	}
	out, err := w.ecs.RunTask(ctx, &ecs.RunTaskInput{Cluster: aws.String(clusterName), TaskDefinition: aws.String("consul"), LaunchType: ecstypes.LaunchTypeFargate,
		NetworkConfiguration: &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: []string{net.Subnets[0].SubnetID}}}})
	if err != nil || len(out.Tasks) != 1 {
		w.t.Fatalf("%+v, %v", out, err)
	}
	address := ""
	until(w.t, time.Minute, "the Consul server has elected itself", func() (bool, string) {
		var log struct{ Events []struct{ Message string } }
		w.aws(&log, "logs", "filter-log-events", "--log-group-name", "consul")
		for _, e := range log.Events {
			if _, after, ok := strings.Cut(e.Message, "Cluster Addr: "); ok {
				address, _, _ = strings.Cut(after, " ")
			}
		}
		if address == "" {
			return false, fmt.Sprint("it has not said its address: ", log.Events)
		}
		var leader string
		err := consulGet(address, "/v1/status/leader", &leader)
		return err == nil && leader != "", fmt.Sprint(err)
	})
	return address
}

func consulGet(address, path string, answer any) error {
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Get("http://" + address + ":8500" + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(answer)
}

// registered is what Consul says of the service: where a passing check says that it answers.
func registered(address string) (at, tags []string, err error) {
	var entries []struct {
		Node    struct{ Address string }
		Service struct {
			Tags []string
			Port int
		}
	}
	err = consulGet(address, "/v1/health/service/iplookup?passing", &entries)
	for _, e := range entries {
		at, tags = append(at, fmt.Sprintf("%s:%d", e.Node.Address, e.Service.Port)), append(tags, e.Service.Tags...)
	}
	slices.Sort(at)
	slices.Sort(tags)
	return at, tags, err
}

// Tasks are found in a real Consul while they run, under their own addresses, and no longer: those of an old
// release leave it, as do all when the service is deleted.
func TestConsul(t *testing.T) {
	w := newTeam(t, "--speed", "4")
	image := w.consulImage()
	server := w.consulServer(image)
	deploy := func(tag string) {
		t.Helper()
		w.write("slipway.yaml", fmt.Sprintf(found, server, image, tag))
		w.commitAndPush(tag)
		w.slipway("deploy", "qa")
		until(t, time.Minute, "Consul has the release's tasks and no others", func() (bool, string) {
			at, tags, err := registered(server)
			return slices.Equal(tags, []string{tag, tag}), fmt.Sprintf("%v %v %v", at, tags, err)
		})
		at, _, _ := registered(server)
		for _, a := range at {
			resp, err := http.Get("http://" + a + "/healthz")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", a, resp.Status)
			}
		}
	}
	deploy("v1")
	deploy("v2")
	w.slipway("delete", "qa", "--yes")
	until(t, time.Minute, "Consul has none", func() (bool, string) {
		at, _, err := registered(server)
		return err == nil && len(at) == 0, fmt.Sprint(at, err)
	})
	var all []struct{ Node struct{ Address string } }
	if err := consulGet(server, "/v1/health/service/iplookup", &all); err != nil || len(all) > 0 {
		t.Errorf("they did not leave, but fail: %+v, %v", all, err)
	}
}
