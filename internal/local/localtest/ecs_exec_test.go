package localtest_test

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"golang.org/x/net/websocket"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
	"github.com/slipway-ecs/slipway/internal/ssmchannel"
)

// talk uses a session as AWS's plugin does, types a line, and returns what came until the end.
func talk(t *testing.T, s *types.Session, line string) string {
	t.Helper()
	if c, err := websocket.Dial(*s.StreamUrl, "", "http://example.com"); err == nil {
		_ = c.Close()
		t.Error("a session was opened for a web page")
	}
	host, _, _ := strings.Cut(strings.TrimPrefix(*s.StreamUrl, "ws://"), "/")
	c, err := websocket.Dial(*s.StreamUrl, "", "http://"+host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := websocket.JSON.Send(c, ssmchannel.Open{SchemaVersion: "1.0", RequestID: "r", Token: *s.TokenValue, ClientID: "c"}); err != nil {
		t.Fatal(err)
	}
	sequence := int64(0)
	send := func(payload uint32, data []byte) {
		m := &ssmchannel.Message{Type: ssmchannel.Input, Sequence: sequence, PayloadType: payload, Payload: data}
		sequence++
		if err := websocket.Message.Send(c, m.Append(nil)); err != nil && !errors.Is(err, io.EOF) {
			t.Logf("sending: %v", err) // the other side may have ended already
		}
	}
	var said strings.Builder
	for {
		var data []byte
		if err := websocket.Message.Receive(c, &data); err != nil {
			return said.String() + "!" + err.Error()
		}
		m, err := ssmchannel.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case m.Type == ssmchannel.ChannelClosed:
			return said.String()
		case m.Type != ssmchannel.Output:
		case m.PayloadType == ssmchannel.HandshakeRequest:
			answer, _ := json.Marshal(ssmchannel.HandshakeAnswer{ClientVersion: "1", Actions: []ssmchannel.ActionAnswer{{Type: "SessionType", Status: 1}}})
			send(ssmchannel.HandshakeResponse, answer)
		case m.PayloadType == ssmchannel.HandshakeComplete:
			send(ssmchannel.Size, []byte(`{"cols":80,"rows":24}`))
			send(ssmchannel.Text, []byte(line))
		case m.PayloadType == ssmchannel.Text:
			said.Write(m.Payload)
		}
	}
}

func TestExecuteCommand(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(50))
	e, network := onFargate(t, a, 1)
	ctx, c := t.Context(), aws.String("c")
	run := func(exec bool) types.Task {
		out := ok[ecs.RunTaskOutput](t)(e.RunTask(ctx, &ecs.RunTaskInput{Cluster: c, TaskDefinition: aws.String("web"), LaunchType: "FARGATE", NetworkConfiguration: network, EnableExecuteCommand: exec}))
		var task types.Task
		localtest.Eventually(t, "it runs", func() bool {
			task = ok[ecs.DescribeTasksOutput](t)(e.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: c, Tasks: []string{*out.Tasks[0].TaskArn}})).Tasks[0]
			return str(task.LastStatus) == "RUNNING"
		})
		return task
	}
	without, with := run(false), run(true)
	_, err := e.ExecuteCommand(ctx, &ecs.ExecuteCommandInput{Cluster: c, Task: without.TaskArn, Command: aws.String("ls"), Interactive: true})
	refused(t, err, "InvalidParameterException")
	_, err = e.ExecuteCommand(ctx, &ecs.ExecuteCommandInput{Cluster: c, Task: with.TaskArn, Command: aws.String("ls")})
	refused(t, err, "InvalidParameterException")
	_, err = e.ExecuteCommand(ctx, &ecs.ExecuteCommandInput{Cluster: c, Task: with.TaskArn, Container: aws.String("none"), Command: aws.String("ls"), Interactive: true})
	refused(t, err, "InvalidParameterException")
	if m := with.Containers[0].ManagedAgents; len(m) != 1 || str(m[0].LastStatus) != "RUNNING" {
		t.Errorf("managed agents: %+v", m)
	}
	out := ok[ecs.ExecuteCommandOutput](t)(e.ExecuteCommand(ctx, &ecs.ExecuteCommandInput{Cluster: c, Task: with.TaskArn, Command: aws.String("ls"), Interactive: true}))
	contains(t, "session", str(out.Session.SessionId), "ecs-execute-command-")
	if said := talk(t, out.Session, ""); said != "" { // a virtual container says nothing
		t.Errorf("said %q", said)
	}
	if said := talk(t, out.Session, ""); !strings.Contains(said, "!") {
		t.Errorf("a session was used twice: %q", said)
	}
}
