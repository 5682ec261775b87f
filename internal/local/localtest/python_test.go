package localtest_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

// python runs a program of testdata that uses boto3; it says ok, or what is wrong.
func python(t *testing.T, a *localtest.AWS, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "python3", append([]string{"testdata/" + program}, args...)...)
	cmd.Env = append(a.Env(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONIOENCODING=utf-8")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "ok") {
		t.Errorf("%s: %v\n%s", program, err, out)
	}
}

func needsBoto3(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts Python")
	}
	if exec.Command("python3", "-c", "import boto3").Run() != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("python3 with boto3 is not installed")
		}
		t.Skip("python3 with boto3 is not installed")
	}
}

// TestAnswersAgainstTheModels calls operations with boto3 and holds each answer, as it was sent,
// against the service model that AWS's own clients install.
func TestAnswersAgainstTheModels(t *testing.T) {
	needsBoto3(t)
	python(t, localtest.Start(t, localtest.Speed(50)), "models.py", image)
}

func TestBoto3AroundECS(t *testing.T) {
	needsBoto3(t)
	python(t, localtest.Start(t, localtest.Speed(50)), "around.py", subnet)
}

func TestBoto3Waiters(t *testing.T) {
	needsBoto3(t)
	a := localtest.Start(t, localtest.Speed(50))
	subnets := ok[ec2.DescribeSubnetsOutput](t)(ec2.NewFromConfig(a.Config).DescribeSubnets(t.Context(), nil)).Subnets
	python(t, a, "waiters.py", *subnets[0].SubnetId, *subnets[1].SubnetId, strconv.Itoa(8080))
}
