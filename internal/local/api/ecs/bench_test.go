package ecs_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	api "github.com/slipway-ecs/slipway/internal/local/api/ecs"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// BenchmarkRequests is the cost of a request behind the socket.
func BenchmarkRequests(b *testing.B) {
	db, err := state.Open("")
	if err != nil {
		b.Fatal(err)
	}
	st, err := state.NewECS(db)
	if err != nil {
		b.Fatal(err)
	}
	s := wire.NewServer()
	if _, err := api.Register(s.Service("ecs"), api.Deps{State: st}); err != nil {
		b.Fatal(err)
	}
	call := func(op, body string) int {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/", strings.NewReader(body))
		r.Header.Set("X-Amz-Target", "AmazonEC2ContainerServiceV20141113."+op)
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(op, w.Code, w.Body)
		}
		return w.Body.Len()
	}
	define := `{"family":"f","networkMode":"awsvpc","cpu":"256","memory":"512","containerDefinitions":[{"name":"app","image":"nginx","portMappings":[{"containerPort":80}],"environment":[{"name":"A","value":"B"}]}]}`
	call("CreateCluster", `{"clusterName":"c"}`)
	call("RegisterTaskDefinition", define)
	call("CreateService", `{"cluster":"c","serviceName":"s","taskDefinition":"f","desiredCount":1,"launchType":"FARGATE","networkConfiguration":{"awsvpcConfiguration":{"subnets":["s"]}}}`)
	for _, bb := range []struct{ op, body string }{
		{"RegisterTaskDefinition", define},
		{"DescribeServices", `{"cluster":"c","services":["s"]}`},
		{"RunTask", `{"cluster":"c","taskDefinition":"f","launchType":"FARGATE","networkConfiguration":{"awsvpcConfiguration":{"subnets":["s"]}}}`},
		{"ListTasks", `{"cluster":"c"}`},
	} {
		b.Run(bb.op, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call(bb.op, bb.body)
			}
		})
	}
}
