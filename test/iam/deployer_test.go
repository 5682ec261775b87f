package iam

import (
	"time"

	"github.com/slipway-ecs/slipway/internal/service"
)

const image = "127.0.0.1/worker@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func worker() service.Spec {
	return service.Spec{Name: "worker", Environment: "qa", Team: "web", Kind: service.KindWorker, Cluster: "main", NetworkMode: "bridge", LaunchType: "EC2", Count: 2,
		Containers: []service.Container{{Name: "worker", Essential: true, CPU: 64, Memory: 64, Env: map[string]string{"A": "1"}, StopTimeout: 2 * time.Second}},
		Logs:       service.Logs{Driver: "awslogs", Retention: 30}, Tags: map[string]string{"cost-center": "42"},
		Volumes:    []service.Volume{{Name: "data", EBS: &service.EBSVolume{SizeGiB: 1, Type: "gp3", FileSystem: "xfs", Encrypted: true}}},
		TaskRole:   service.TaskRole{Statements: []service.Statement{{Effect: "Allow", Actions: []string{"sqs:ReceiveMessage"}, Resources: []string{"*"}}}},
		Scaling:    &service.Scaling{Min: 2, Max: 6, Targets: []service.ScalingTarget{{Metric: "cpu", Target: 60, ScaleOutCooldown: time.Minute, ScaleInCooldown: 5 * time.Minute}}},
		Alarms:     []service.Alarm{{Name: "hot", Metric: "cpu", Threshold: 90, Periods: 3, Period: time.Minute}, {Name: "churn", Metric: "task-churn", Threshold: 3, Periods: 1, Period: 5 * time.Minute}},
		Deployment: service.Deployment{Strategy: "ROLLING", MinimumHealthy: 100, Maximum: 200, CircuitBreaker: true, Rollback: true, Timeout: 2 * time.Minute}}
}
