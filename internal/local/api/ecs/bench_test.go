package ecs_test

import (
	"fmt"
	"io"
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

// BenchmarkScale is the cost of requests in a cluster of 5,000 instances with 100,000 tasks.
func BenchmarkScale(b *testing.B) {
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
	call := func(op, body string) {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/", strings.NewReader(body))
		r.Header.Set("X-Amz-Target", "AmazonEC2ContainerServiceV20141113."+op)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(op, w.Code, w.Body)
		}
	}
	call("CreateCluster", `{"clusterName":"c"}`)
	call("RegisterTaskDefinition", `{"family":"f","containerDefinitions":[{"name":"app","image":"nginx","cpu":10,"memory":10,"portMappings":[{"containerPort":80}]}]}`)
	for i := range 200 {
		call("CreateService", fmt.Sprintf(`{"cluster":"c","serviceName":"s%d","taskDefinition":"f","desiredCount":500}`, i))
	}
	err = db.Update(func(tx *state.Tx) error {
		for i := range 5000 {
			ci := &state.ContainerInstance{ARN: fmt.Sprintf("arn:aws:ecs:us-east-1:000000000000:container-instance/c/%032d", i), ClusterName: "c", Status: "ACTIVE",
				AgentConnected: true, AZ: string(rune('a' + i%3)), CPU: 4096, Memory: 16384, EC2InstanceID: fmt.Sprintf("i-%d", i)}
			st.ContainerInstances.Put(tx, ci.ARN, ci)
			for j := range 20 {
				n := i*20 + j
				t := &state.Task{ARN: fmt.Sprintf("arn:aws:ecs:us-east-1:000000000000:task/c/%032d", n), ClusterName: "c", ServiceKey: fmt.Sprintf("c/s%d", n/500),
					ContainerInstance: ci.ARN, LastStatus: "RUNNING", DesiredStatus: "RUNNING", CPU: 10, Memory: 10, LaunchType: "EC2",
					Containers: []state.TaskContainer{{Name: "app", Bindings: []state.PortBinding{{ContainerPort: 80, HostPort: 32768 + j, Protocol: "tcp"}}}}}
				st.Tasks.Put(tx, t.ARN, t)
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	for _, bb := range []struct{ op, body string }{
		{"DescribeServices", `{"cluster":"c","services":["s7"]}`},
		{"RunTask", `{"cluster":"c","taskDefinition":"f"}`},
		{"ListTasks", `{"cluster":"c"}`},
		{"DescribeClusters", `{"clusters":["c"]}`},
	} {
		b.Run(bb.op, func(b *testing.B) {
			for b.Loop() {
				call(bb.op, bb.body)
			}
		})
	}
}

// BenchmarkSocket is what clients see, over loopback with keep-alive, as many at a time as there are cores.
func BenchmarkSocket(b *testing.B) {
	db, err := state.Open(b.TempDir()) // on disk: every acknowledged write survives the process
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	st, err := state.NewECS(db)
	if err != nil {
		b.Fatal(err)
	}
	s := wire.NewServer()
	if _, err := api.Register(s.Service("ecs"), api.Deps{State: st}); err != nil {
		b.Fatal(err)
	}
	srv := httptest.NewServer(s)
	defer srv.Close()
	srv.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = 64
	call := func(op, body string) {
		r, _ := http.NewRequest(http.MethodPost, srv.URL, strings.NewReader(body))
		r.Header.Set("X-Amz-Target", "AmazonEC2ContainerServiceV20141113."+op)
		res, err := srv.Client().Do(r)
		if err != nil {
			b.Error(err)
			return
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			b.Error(op, res.Status)
		}
	}
	define := `{"family":"f","networkMode":"awsvpc","cpu":"256","memory":"512","containerDefinitions":[{"name":"app","image":"nginx","portMappings":[{"containerPort":80}]}]}`
	call("CreateCluster", `{"clusterName":"c"}`)
	call("RegisterTaskDefinition", define)
	network := `"launchType":"FARGATE","networkConfiguration":{"awsvpcConfiguration":{"subnets":["s"]}}`
	call("CreateService", `{"cluster":"c","serviceName":"s","taskDefinition":"f","desiredCount":1,`+network+`}`)
	for _, bb := range []struct{ op, body string }{
		{"RegisterTaskDefinition", define},
		{"RunTask", `{"cluster":"c","taskDefinition":"f",` + network + `}`},
		{"DescribeServices", `{"cluster":"c","services":["s"]}`},
		{"ListTasks", `{"cluster":"c"}`},
	} {
		b.Run(bb.op, func(b *testing.B) {
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					call(bb.op, bb.body)
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
		})
	}
}
