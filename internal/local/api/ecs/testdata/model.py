"""Drives the ECS API with boto3; checks every answer, as sent, against botocore's own model."""
import json
import sys

import boto3
from botocore.exceptions import ClientError

ecs = boto3.client("ecs", endpoint_url=sys.argv[1])
called = set()


def check(shape, value, path):
    t = shape.type_name
    if t == "structure":
        assert isinstance(value, dict), path
        for k, v in value.items():
            assert k in shape.members, f"unknown member {path}.{k}"
            check(shape.members[k], v, f"{path}.{k}")
        for k in shape.required_members:
            assert k in value, f"missing member {path}.{k}"
    elif t == "list":
        assert isinstance(value, list), path
        for i, v in enumerate(value):
            check(shape.member, v, f"{path}[{i}]")
    elif t == "map":
        assert isinstance(value, dict), path
        for k, v in value.items():
            check(shape.value, v, f"{path}[{k}]")
    elif t == "string":
        assert isinstance(value, str), f"{path}: {value!r}"
        if shape.enum:
            assert value in shape.enum, f"{path}: {value!r} is not in {shape.enum}"
    elif t in ("integer", "long"):
        assert isinstance(value, int) and not isinstance(value, bool), f"{path}: {value!r}"
    elif t in ("double", "float", "timestamp"):
        assert isinstance(value, (int, float)), f"{path}: {value!r}"
    elif t == "boolean":
        assert isinstance(value, bool), f"{path}: {value!r}"


def received(http_response, model, **kw):
    called.add(model.name)
    body = json.loads(http_response.content or b"{}")
    if http_response.status_code < 300:
        check(model.output_shape, body, model.name)
    else:
        assert body["__type"] in [e.name for e in model.error_shapes] + ["UnknownOperationException"], (model.name, body)


ecs.meta.events.register("after-call.ecs", lambda http_response, model, **kw: received(http_response, model))


def refused(call, **kw):
    try:
        call(**kw)
    except ClientError as e:
        return e.response["Error"]["Code"]
    raise AssertionError("not refused")


ecs.create_cluster(clusterName="c", tags=[{"key": "a", "value": "b"}], settings=[{"name": "containerInsights", "value": "enhanced"}])
ecs.update_cluster(cluster="c", serviceConnectDefaults={"namespace": "n"})
ecs.update_cluster_settings(cluster="c", settings=[{"name": "containerInsights", "value": "disabled"}])
ecs.create_capacity_provider(name="cp", autoScalingGroupProvider={
    "autoScalingGroupArn": "arn:aws:autoscaling:us-east-1:0:autoScalingGroup:x:autoScalingGroupName/g", "managedScaling": {"status": "ENABLED"}})
ecs.update_capacity_provider(name="cp", autoScalingGroupProvider={"managedScaling": {"targetCapacity": 80}})
ecs.put_cluster_capacity_providers(cluster="c", capacityProviders=["cp", "FARGATE"], defaultCapacityProviderStrategy=[])
ecs.describe_capacity_providers(include=["TAGS"])
ecs.describe_clusters(clusters=["c", "x"], include=["ATTACHMENTS", "CONFIGURATIONS", "SETTINGS", "STATISTICS", "TAGS"])
ecs.list_clusters()
container = {
    "name": "app", "image": "nginx", "memory": 64, "portMappings": [{"containerPort": 80, "name": "http", "appProtocol": "http"}],
    "environment": [{"name": "A", "value": "B"}], "secrets": [{"name": "S", "valueFrom": "/s"}], "ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 2}],
    "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "g"}}, "healthCheck": {"command": ["CMD", "true"]},
    "linuxParameters": {"initProcessEnabled": True, "capabilities": {"add": ["SYS_PTRACE"]}}, "dockerLabels": {"x": "y"}, "stopTimeout": 5,
    "restartPolicy": {"enabled": True, "ignoredExitCodes": [0], "restartAttemptPeriod": 60}, "readonlyRootFilesystem": True, "user": "1000",
}
td = ecs.register_task_definition(
    family="web", containerDefinitions=[container], volumes=[{"name": "v"}, {"name": "e", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}],
    taskRoleArn="arn:aws:iam::0:role/r", placementConstraints=[{"type": "memberOf", "expression": "attribute:x == y"}], tags=[{"key": "k", "value": "v"}],
    runtimePlatform={"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"}, ephemeralStorage={"sizeInGiB": 30})["taskDefinition"]
for k, v in container.items():  # every field is kept
    if isinstance(v, dict):
        assert {**td["containerDefinitions"][0][k], **v} == td["containerDefinitions"][0][k], k
    elif k != "portMappings":
        assert td["containerDefinitions"][0][k] == v, k
ecs.describe_task_definition(taskDefinition="web", include=["TAGS"])
ecs.register_task_definition(family="old", containerDefinitions=[{"name": "a", "image": "b", "memory": 4}])
ecs.deregister_task_definition(taskDefinition="old:1")
ecs.delete_task_definitions(taskDefinitions=["old:1", "x:1"])
ecs.list_task_definitions()
ecs.list_task_definition_families()
ecs.register_task_definition(family="f", networkMode="awsvpc", cpu="256", memory="512", containerDefinitions=[{"name": "a", "image": "b"}])
ecs.register_task_definition(family="plain", containerDefinitions=[{"name": "app", "image": "nginx", "memory": 64, "portMappings": [{"containerPort": 80}]}])

i = ecs.register_container_instance(cluster="c", instanceIdentityDocument=json.dumps({"instanceId": "i-1", "instanceType": "m5.large", "availabilityZone": "us-east-1a"}),
                                    totalResources=[{"name": "CPU", "type": "INTEGER", "integerValue": 2048}, {"name": "MEMORY", "type": "INTEGER", "integerValue": 4096}],
                                    versionInfo={"agentVersion": "1.90.0"})["containerInstance"]["containerInstanceArn"]
ecs.put_attributes(cluster="c", attributes=[{"name": "x", "value": "y", "targetId": i}])
ecs.list_attributes(cluster="c", targetType="container-instance")
ecs.describe_container_instances(cluster="c", containerInstances=[i, "x"], include=["TAGS"])
ecs.list_container_instances(cluster="c", filter="attribute:x == y")
assert refused(ecs.list_container_instances, cluster="c", filter="attribute:x ==") == "InvalidParameterException"

s = ecs.create_service(cluster="c", serviceName="s", taskDefinition="web", desiredCount=2, launchType="EC2", placementStrategy=[{"type": "spread", "field": "attribute:ecs.availability-zone"}],
                       tags=[{"key": "k", "value": "v"}], enableECSManagedTags=True, propagateTags="SERVICE",
                       deploymentConfiguration={"deploymentCircuitBreaker": {"enable": True, "rollback": True}, "alarms": {"alarmNames": ["a"], "enable": True, "rollback": True}},
                       serviceConnectConfiguration={"enabled": True, "namespace": "n", "services": [{"portName": "http"}]})["service"]
net = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
ecs.create_service(cluster="c", serviceName="f", taskDefinition="f", desiredCount=1, launchType="FARGATE", networkConfiguration=net)
ecs.create_service(cluster="c", serviceName="d", taskDefinition="plain", schedulingStrategy="DAEMON")
ecs.update_service(cluster="c", service="s", forceNewDeployment=True)
ecs.describe_services(cluster="c", services=["s", "f", "d", "x"], include=["TAGS"])
assert len(ecs.list_services(cluster="c")["serviceArns"]) == 3
ecs.list_services_by_namespace(namespace="n")
sds = ecs.list_service_deployments(cluster="c", service="s")["serviceDeployments"]
d = ecs.describe_service_deployments(serviceDeploymentArns=[x["serviceDeploymentArn"] for x in sds])
ecs.describe_service_revisions(serviceRevisionArns=[d["serviceDeployments"][0]["targetServiceRevision"]["arn"]])
ecs.stop_service_deployment(serviceDeploymentArn=next(x["serviceDeploymentArn"] for x in sds if x["status"] == "PENDING"))
assert refused(ecs.stop_service_deployment, serviceDeploymentArn="x") == "ServiceDeploymentNotFoundException"

t = ecs.run_task(cluster="c", taskDefinition="plain", count=2, enableECSManagedTags=True)["tasks"][0]["taskArn"]
ecs.run_task(cluster="c", taskDefinition="f", launchType="FARGATE", networkConfiguration=net)
ecs.start_task(cluster="c", taskDefinition="plain", containerInstances=[i])
ecs.describe_tasks(cluster="c", tasks=[t, "x"], include=["TAGS"])
ecs.list_tasks(cluster="c")
ecs.update_task_protection(cluster="c", tasks=[t], protectionEnabled=True)
ecs.get_task_protection(cluster="c", tasks=[t])
ecs.stop_task(cluster="c", task=t)
ecs.tag_resource(resourceArn=s["serviceArn"], tags=[{"key": "n", "value": "m"}])
ecs.untag_resource(resourceArn=s["serviceArn"], tagKeys=["k"])
assert ecs.list_tags_for_resource(resourceArn=s["serviceArn"])["tags"] == [{"key": "n", "value": "m"}]
ecs.put_account_setting(name="awsvpcTrunking", value="enabled")
ecs.put_account_setting_default(name="containerInsights", value="enabled")
ecs.list_account_settings(effectiveSettings=True)
ecs.delete_account_setting(name="awsvpcTrunking")
ecs.update_container_instances_state(cluster="c", containerInstances=[i, "x"], status="DRAINING")
ecs.delete_attributes(cluster="c", attributes=[{"name": "x", "targetId": i}])
ecs.delete_service(cluster="c", service="s", force=True)
ecs.deregister_container_instance(cluster="c", containerInstance=i, force=True)
assert refused(ecs.delete_cluster, cluster="c") == "ClusterContainsServicesException"
assert refused(ecs.describe_tasks, cluster="x", tasks=["y"]) == "ClusterNotFoundException"
assert refused(ecs.delete_capacity_provider, capacityProvider="cp") == "ClientException"
print(len(called), "operations ok")
