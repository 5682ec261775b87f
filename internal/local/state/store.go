package state

import "strconv"

// Names of the tables, for watches.
const (
	TableClusters           = "ecs.clusters"
	TableTaskDefinitions    = "ecs.taskdefinitions"
	TableServices           = "ecs.services"
	TableDeployments        = "ecs.deployments"
	TableServiceDeployments = "ecs.servicedeployments"
	TableServiceRevisions   = "ecs.servicerevisions"
	TableServiceEvents      = "ecs.serviceevents"
	TableTasks              = "ecs.tasks"
	TableContainerInstances = "ecs.containerinstances"
	TableCapacityProviders  = "ecs.capacityproviders"
	TableAccountSettings    = "ecs.accountsettings"
	TableDaemonDefinitions  = "ecs.daemondefinitions"
	TableDaemons            = "ecs.daemons"
	TableDaemonRevisions    = "ecs.daemonrevisions"
	TableDaemonDeployments  = "ecs.daemondeployments"
	TableTargets            = "elb.targets"
	TableTargetHealth       = "elb.targethealth"
)

// ECS is the tables of Elastic Container Service, and those of the targets its services register.
type ECS struct {
	DB                 *DB
	Clusters           *Table[Cluster]
	TaskDefinitions    *Table[TaskDefinition]
	Services           *Table[Service]
	Deployments        *Table[Deployment]
	ServiceDeployments *Table[ServiceDeployment]
	ServiceRevisions   *Table[ServiceRevision]
	ServiceEvents      *Table[ServiceEvent]
	Tasks              *Table[Task]
	ContainerInstances *Table[ContainerInstance]
	CapacityProviders  *Table[CapacityProvider]
	AccountSettings    *Table[AccountSetting]
	DaemonDefinitions  *Table[DaemonDefinition]
	Daemons            *Table[Daemon]
	DaemonRevisions    *Table[DaemonRevision]
	DaemonDeployments  *Table[DaemonDeployment]
	Targets            *Table[Target]
	TargetHealth       *Table[TargetHealth]

	TasksByService      *Index[Task]              // by service key
	TasksByInstance     *Index[Task]              // by container instance ARN, all but STOPPED
	TasksByCluster      *Index[Task]              // by cluster name
	TasksByEndpoint     *Index[Task]              // by EndpointKey of host ports and of the ENI's address, all but STOPPED
	TasksByDaemon       *Index[Task]              // by daemon ARN
	InstancesByCluster  *Index[ContainerInstance] // by cluster name
	InstancesByEC2      *Index[ContainerInstance] // by EC2 instance id
	DeploymentsByARN    *Index[Deployment]        // by service deployment ARN
	SvcDeploysByService *Index[ServiceDeployment] // by service key
	RevisionsByService  *Index[ServiceRevision]   // by service key

	ClusterTasks    *Tally[Task, TaskCount] // of a cluster, by name
	ServiceTasks    *Tally[Task, TaskCount] // of a service, by key
	DeploymentTasks *Tally[Task, TaskCount] // of a deployment, by service key and id
	// FargateCPU is how many CPU units the tasks of FARGATE, and those of FARGATE_SPOT, have together.
	FargateCPU *Sums[Task, int]
	// FargateLimit is how many they may have; nil: there is no limit.
	FargateLimit  func(tx *Tx, kind string) int
	UnplacedTasks *Tally[Task, string] // of a cluster, by name: those that wait for an instance
	InstanceLoads *Sums[Task, Load]    // of a container instance, by ARN
}

// Phase is how far a task is, as counts tell it.
type Phase uint8

// The phases of tasks that are counted.
const (
	Pending Phase = iota + 1 // PROVISIONING, PENDING, ACTIVATING
	Running
)

// TaskCount names a number of tasks.
type TaskCount struct {
	Of, Deployment string
	Fargate        bool // of clusters only
	Phase          Phase
}

// PhaseOf is the phase of a task; 0 if it is on its way out, or out.
func PhaseOf(t *Task) Phase {
	switch t.LastStatus {
	case "PROVISIONING", "PENDING", "ACTIVATING":
		return Pending
	case "RUNNING":
		return Running
	}
	return 0
}

// NewECS adds the ECS tables to db.
func NewECS(db *DB) (*ECS, error) {
	s := &ECS{DB: db}
	s.TasksByService = NewIndex(func(t *Task) []string { return nonEmpty(t.ServiceKey) })
	s.TasksByCluster = NewIndex(func(t *Task) []string { return []string{t.ClusterName} })
	s.TasksByInstance = NewIndex(func(t *Task) []string {
		if t.LastStatus == "STOPPED" {
			return nil
		}
		return nonEmpty(t.ContainerInstance)
	})
	s.TasksByEndpoint = NewIndex(taskEndpoints)
	s.TasksByDaemon = NewIndex(func(t *Task) []string { return nonEmpty(t.DaemonARN) })
	s.InstancesByCluster = NewIndex(func(i *ContainerInstance) []string { return []string{i.ClusterName} })
	s.InstancesByEC2 = NewIndex(func(i *ContainerInstance) []string { return nonEmpty(i.EC2InstanceID) })
	s.DeploymentsByARN = NewIndex(func(d *Deployment) []string { return nonEmpty(d.ServiceDeployment) })
	s.SvcDeploysByService = NewIndex(func(d *ServiceDeployment) []string { return []string{d.ServiceKey} })
	s.RevisionsByService = NewIndex(func(r *ServiceRevision) []string { return []string{r.ServiceKey} })
	var err error
	add(&err, db, &s.Clusters, TableClusters)
	add(&err, db, &s.TaskDefinitions, TableTaskDefinitions)
	add(&err, db, &s.Services, TableServices)
	add(&err, db, &s.Deployments, TableDeployments, s.DeploymentsByARN)
	add(&err, db, &s.ServiceDeployments, TableServiceDeployments, s.SvcDeploysByService)
	add(&err, db, &s.ServiceRevisions, TableServiceRevisions, s.RevisionsByService)
	add(&err, db, &s.ServiceEvents, TableServiceEvents)
	add(&err, db, &s.Tasks, TableTasks, s.TasksByService, s.TasksByCluster, s.TasksByInstance, s.TasksByEndpoint, s.TasksByDaemon)
	add(&err, db, &s.ContainerInstances, TableContainerInstances, s.InstancesByCluster, s.InstancesByEC2)
	add(&err, db, &s.CapacityProviders, TableCapacityProviders)
	add(&err, db, &s.AccountSettings, TableAccountSettings)
	add(&err, db, &s.DaemonDefinitions, TableDaemonDefinitions)
	add(&err, db, &s.Daemons, TableDaemons)
	add(&err, db, &s.DaemonRevisions, TableDaemonRevisions)
	add(&err, db, &s.DaemonDeployments, TableDaemonDeployments)
	add(&err, db, &s.Targets, TableTargets)
	add(&err, db, &s.TargetHealth, TableTargetHealth)
	if err != nil {
		return nil, err
	}
	s.ClusterTasks = NewTally(s.Tasks, func(t *Task) (TaskCount, bool) {
		p := PhaseOf(t)
		return TaskCount{Of: t.ClusterName, Fargate: t.LaunchType == "FARGATE", Phase: p}, p != 0
	})
	s.ServiceTasks = NewTally(s.Tasks, func(t *Task) (TaskCount, bool) {
		p := PhaseOf(t)
		return TaskCount{Of: t.ServiceKey, Phase: p}, p != 0 && t.ServiceKey != ""
	})
	s.DeploymentTasks = NewTally(s.Tasks, func(t *Task) (TaskCount, bool) {
		p := PhaseOf(t)
		return TaskCount{Of: t.ServiceKey, Deployment: t.DeploymentID, Phase: p}, p != 0 && t.ServiceKey != ""
	})
	s.InstanceLoads = NewSums(s.Tasks, func(t *Task) string {
		if t.LastStatus == "STOPPED" {
			return ""
		}
		return t.ContainerInstance
	}, (*Load).add)
	s.FargateCPU = NewSums(s.Tasks, func(t *Task) string {
		if t.LaunchType != "FARGATE" || t.LastStatus == "STOPPED" {
			return ""
		}
		return fargateKind(t)
	}, func(sum *int, t *Task, n int) { *sum += n * t.CPU })
	s.UnplacedTasks = NewTally(s.Tasks, func(t *Task) (string, bool) {
		return t.ClusterName, t.LastStatus == "PROVISIONING" && t.ContainerInstance == "" && t.LaunchType != "FARGATE"
	})
	return s, nil
}

func fargateKind(t *Task) string {
	if t.CapacityProvider == "" {
		return "FARGATE"
	}
	return t.CapacityProvider
}

// FargateQuota is what ECS says when an account's quota of vCPUs has no room for a task.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
const FargateQuota = "You've reached the limit on the number of vCPUs you can run concurrently"

// FargateRoom reports whether the account's quota of vCPUs leaves room for a task on Fargate.
func (s *ECS) FargateRoom(tx *Tx, t *Task) bool {
	if s.FargateLimit == nil {
		return true
	}
	used, kind := 0, fargateKind(t)
	if n := s.FargateCPU.Get(tx, kind); n != nil {
		used = *n
	}
	return used+t.CPU <= s.FargateLimit(tx, kind)
}

func add[T any](err *error, db *DB, into **Table[T], name string, indexes ...*Index[T]) {
	if *err == nil {
		*into, *err = NewTable(db, name, indexes...)
	}
}

func taskEndpoints(t *Task) []string {
	if t.LastStatus == "STOPPED" {
		return nil
	}
	var keys []string
	if t.ENI != nil {
		keys = append(keys, t.ENI.PrivateIP)
	}
	for _, c := range t.Containers {
		for _, b := range c.Bindings {
			if t.ContainerInstance != "" && b.HostPort != 0 {
				keys = append(keys, EndpointKey(t.ContainerInstance, b.HostPort))
			}
		}
	}
	return keys
}

// EndpointKey is the key of TasksByEndpoint for a port of a container instance. A task with an ENI
// is found by the address alone.
func EndpointKey(containerInstanceARN string, hostPort int) string {
	return containerInstanceARN + ":" + itoa(hostPort)
}

// ServiceKey is the key of a Service record.
func ServiceKey(cluster, service string) string { return cluster + "/" + service }

// TaskDefinitionKey is the key of a TaskDefinition record; revisions sort in number order.
func TaskDefinitionKey(family string, revision int) string {
	n := itoa(revision)
	return family + ":" + "0000000"[:max(0, 7-len(n))] + n
}

func itoa(n int) string { return strconv.Itoa(n) }

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
