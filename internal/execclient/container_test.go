package execclient_test

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/execclient"
	"github.com/slipway-ecs/slipway/internal/local/localtest"
	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/runtime/contract"
	"github.com/slipway-ecs/slipway/internal/local/runtime/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.MaybeInit()
	os.Exit(m.Run())
}

// A terminal here is joined to one in a container of the local AWS, by ExecuteCommand.
func TestTerminalInAContainer(t *testing.T) {
	rt, err := sandbox.Open(t.Context(), runtime.Options{Dir: t.TempDir(), Owner: t.Name()})
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("the sandbox does not work here: %v", err)
	}
	if err := rt.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	image := contract.Image(t)
	a := localtest.Start(t, localtest.Runtime("sandbox"))
	e, ctx := ecs.NewFromConfig(a.Config), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err = e.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("c")})
	must(err)
	_, err = e.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: aws.String("f"), RequiresCompatibilities: []types.Compatibility{"FARGATE"}, NetworkMode: "awsvpc", Cpu: aws.String("256"), Memory: aws.String("512"),
		ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String("app"), Image: &image, Command: []string{"serve"}}}})
	must(err)
	subnets := a.Must(t, "ec2", "describe-subnets")["Subnets"].([]any)
	out, err := e.RunTask(ctx, &ecs.RunTaskInput{Cluster: aws.String("c"), TaskDefinition: aws.String("f"), LaunchType: "FARGATE", EnableExecuteCommand: true,
		NetworkConfiguration: &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{subnets[0].(map[string]any)["SubnetId"].(string)}}}})
	must(err)
	task := out.Tasks[0].TaskArn
	localtest.Eventually(t, "the task runs", func() bool {
		out, err := e.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: aws.String("c"), Tasks: []string{*task}})
		return err == nil && len(out.Tasks) == 1 && *out.Tasks[0].LastStatus == "RUNNING"
	})
	session := func(command string) execclient.Session {
		out, err := e.ExecuteCommand(ctx, &ecs.ExecuteCommandInput{Cluster: aws.String("c"), Task: task, Command: &command, Interactive: true})
		must(err)
		return execclient.Session{URL: *out.Session.StreamUrl, Token: *out.Session.TokenValue}
	}
	shown := &screen{}
	end, err := execclient.Run(ctx, session("/prog terminal"), execclient.Terminal{In: strings.NewReader("hello\n"), Out: shown, Size: func() (int, int, bool) { return 132, 43, true }})
	if err != nil || !end.Known || end.ExitCode != 7 || !strings.Contains(shown.String(), "43 132 hello <nil> errno 0") {
		t.Errorf("%+v %v %q", end, err, shown)
	}

	// The terminal grows while the program waits for a line.
	in, keys := io.Pipe()
	rows := make(chan int, 1)
	rows <- 10
	asked := 0
	now := 10
	shown = &screen{}
	end, err = execclient.Run(ctx, session("/prog terminal"), execclient.Terminal{In: in, Out: shown, Size: func() (int, int, bool) {
		select {
		case now = <-rows:
		default:
		}
		switch asked++; asked {
		case 1:
			rows <- 20
		case 3: // 20 has been sent
			go func() { _, _ = keys.Write([]byte("grown\n")) }()
		}
		return 80, now, true
	}})
	if err != nil || !strings.Contains(shown.String(), "20 80 grown <nil> errno 0") {
		t.Errorf("%+v %v %q", end, err, shown)
	}
	if end, err = execclient.Run(ctx, session("/none"), execclient.Terminal{In: in, Out: io.Discard}); err != nil || end.ExitCode != 127 {
		t.Errorf("a command that is not there: %+v %v", end, err)
	}
}
