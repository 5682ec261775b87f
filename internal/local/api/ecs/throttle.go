package ecs

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// rate is a token bucket: so many requests at once, and so many a second after that.
type rate struct{ burst, perSecond float64 }

// rates are ECS's throttling quotas, an account and region.
// https://docs.aws.amazon.com/general/latest/gr/ecs-service.html
var rates = map[string]rate{
	"service modify":                {50, 5},
	"service read":                  {100, 20},
	"service deployment read":       {50, 20},
	"cluster read":                  {50, 20},
	"cluster modify":                {20, 1},
	"cluster resource modify":       {100, 40},
	"cluster resource read":         {100, 20},
	"cluster service resource read": {10, 1},
	"task definition modify":        {20, 1},
	"task definition read":          {50, 20},
	"task definition deletion":      {5, 1},
	"tag modify":                    {20, 10},
	"tag read":                      {50, 20},
	"task protection read":          {200, 80},
	"task protection write":         {200, 80},
	"capacity provider modify":      {10, 1},
	"capacity provider read":        {50, 20},
	"agent modify":                  {200, 120},
	"setting modify":                {10, 1},
	"setting read":                  {50, 20},
}

// buckets says which operations share which quota. The page names the quotas; the operations in each
// are read from their names.
var buckets = func() map[string]string {
	out := map[string]string{}
	for bucket, ops := range map[string]string{
		"service modify":                "CreateService UpdateService DeleteService StopServiceDeployment ContinueServiceDeployment CreateTaskSet UpdateTaskSet DeleteTaskSet UpdateServicePrimaryTaskSet CreateExpressGatewayService UpdateExpressGatewayService DeleteExpressGatewayService CreateDaemon UpdateDaemon DeleteDaemon",
		"service read":                  "DescribeServices DescribeTaskSets DescribeExpressGatewayService DescribeDaemon ListDaemons",
		"service deployment read":       "DescribeServiceDeployments ListServiceDeployments DescribeServiceRevisions DescribeDaemonDeployments ListDaemonDeployments DescribeDaemonRevisions",
		"cluster read":                  "DescribeClusters ListClusters",
		"cluster modify":                "CreateCluster UpdateCluster UpdateClusterSettings DeleteCluster PutClusterCapacityProviders",
		"cluster resource modify":       "RunTask StartTask StopTask UpdateContainerInstancesState DeregisterContainerInstance UpdateContainerAgent PutAttributes DeleteAttributes ExecuteCommand",
		"cluster resource read":         "DescribeTasks ListTasks DescribeContainerInstances ListContainerInstances ListAttributes",
		"cluster service resource read": "ListServices ListServicesByNamespace",
		"task definition modify":        "RegisterTaskDefinition DeregisterTaskDefinition RegisterDaemonTaskDefinition",
		"task definition read":          "DescribeTaskDefinition ListTaskDefinitions ListTaskDefinitionFamilies DescribeDaemonTaskDefinition ListDaemonTaskDefinitions",
		"task definition deletion":      "DeleteTaskDefinitions DeleteDaemonTaskDefinition",
		"tag modify":                    "TagResource UntagResource",
		"tag read":                      "ListTagsForResource",
		"task protection read":          "GetTaskProtection",
		"task protection write":         "UpdateTaskProtection",
		"capacity provider modify":      "CreateCapacityProvider UpdateCapacityProvider DeleteCapacityProvider",
		"capacity provider read":        "DescribeCapacityProviders",
		"agent modify":                  "RegisterContainerInstance DiscoverPollEndpoint SubmitTaskStateChange SubmitContainerStateChange SubmitAttachmentStateChanges",
		"setting modify":                "PutAccountSetting PutAccountSettingDefault DeleteAccountSetting",
		"setting read":                  "ListAccountSettings",
	} {
		for op := range strings.FieldsSeq(ops) {
			out[op] = bucket
		}
	}
	return out
}()

// Throttle is a middleware that refuses requests beyond ECS's quotas, as AWS does. The quotas follow
// the clock: where it runs faster, so do they.
func Throttle(clk clock.Clock) func(wire.Next) wire.Next {
	type level struct {
		tokens float64
		at     time.Time
	}
	var mu sync.Mutex
	levels := map[string]level{} // by account, region and bucket
	take := func(who wire.Identity, bucket string) bool {
		mu.Lock()
		defer mu.Unlock()
		now, r := clk.Now(), rates[bucket]
		key := who.Account + "/" + who.Region + "/" + bucket
		l, ok := levels[key]
		if !ok {
			l = level{r.burst, now}
		}
		l.tokens = min(r.burst, l.tokens+now.Sub(l.at).Seconds()*r.perSecond)
		l.at = now
		ok = l.tokens >= 1
		if ok {
			l.tokens--
		}
		levels[key] = l
		return ok
	}
	return func(next wire.Next) wire.Next {
		return func(ctx context.Context, c wire.Call) (any, error) {
			if bucket := buckets[c.Operation]; c.Service == "ecs" && bucket != "" && !take(wire.Caller(ctx), bucket) {
				return nil, wire.Errorf("ThrottlingException", "Rate exceeded")
			}
			return next(ctx, c)
		}
	}
}
